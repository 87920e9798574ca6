//! A layer around every gRPC call: its identifier and trace, in the log and in the answer, and a line about a call that
//! fails, at its beginning or at the end of a stream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use prost::bytes::Bytes;
use tonic::{Code, Status, body::Body, transport::server::TcpConnectInfo};
use tower::{Layer, Service};
use tracing::Level;

use super::traffic::{code_name, method};
use crate::trace::{Call, Failures, REQUEST_ID};

/// Puts [`Observe`] around a service.
#[derive(Clone)]
pub(super) struct ObserveLayer {
    failures: Failures,
}

impl ObserveLayer {
    /// Tells `failures` of every call that fails.
    pub(super) fn new(failures: Failures) -> Self {
        Self { failures }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, failures: self.failures.clone() }
    }
}

/// A service whose calls can be followed in the log.
#[derive(Clone)]
pub(super) struct Observe<S> {
    inner: S,
    failures: Failures,
}

impl<S, B> Service<http::Request<B>> for Observe<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = method(request.uri().path());
        let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let call = Call::new(method, request.headers(), peer);
        let told = Told { call: Arc::clone(&call), method: method.to_owned(), failures: self.failures.clone() };
        let answer = call.within(|| self.inner.call(request));
        Box::pin(call.around(async move {
            let mut answer = answer.await?;
            answer.headers_mut().insert(REQUEST_ID, told.call.request_id());
            if let Some(status) = Status::from_header_map(answer.headers()) {
                told.ended(&status);
                return Ok(answer);
            }
            Ok(answer.map(|inner| Body::new(Observed { inner, told })))
        }))
    }
}

/// A call whose end is to be told.
struct Told {
    call: Arc<Call>,
    method: String,
    failures: Failures,
}

impl Told {
    fn ended(&self, status: &Status) {
        let Some(level) = level(status.code()) else { return };
        self.failures.tell(&self.call, &self.method, level, code_name(status.code()), status.message());
    }
}

/// Whose fault a code is: `INFO` is the caller's, the others are ours. `None` is nobody's.
fn level(code: Code) -> Option<Level> {
    match code {
        Code::Ok => None,
        Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => Some(Level::INFO),
        Code::DeadlineExceeded | Code::ResourceExhausted | Code::Unavailable => Some(Level::WARN),
        Code::Unknown | Code::Internal | Code::DataLoss => Some(Level::ERROR),
    }
}

/// An answer that has begun.
struct Observed {
    inner: Body,
    told: Told,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let call = Arc::clone(&self.told.call);
        let frame = call.within(|| Pin::new(&mut self.inner).poll_frame(context));
        if let Poll::Ready(Some(frame)) = &frame {
            let status = match frame {
                Ok(frame) => frame.trailers_ref().and_then(Status::from_header_map),
                Err(status) => Some(status.clone()),
            };
            if let Some(status) = status {
                self.told.ended(&status);
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test]
    async fn the_answer_has_the_identifier_that_the_caller_gave() {
        let inner = service_fn(|_: http::Request<()>| async {
            let id = crate::trace::request_id().unwrap_or_default();
            Ok::<_, Infallible>(Status::not_found(id).into_http::<Body>())
        });
        let request = http::Request::builder().uri("/lrs.v1.JobService/GetJob").header(REQUEST_ID, "r-1").body(());
        let layer = ObserveLayer::new(Failures::new([]));
        let answer = layer.layer(inner).oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.headers()[REQUEST_ID], "r-1");
        assert_eq!(Status::from_header_map(answer.headers()).unwrap().message(), "r-1");
    }
}
