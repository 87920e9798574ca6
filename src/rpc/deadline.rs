//! The time that a caller gives a call, in the header `grpc-timeout`.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use tonic::{Status, body::Body};
use tower::Service;

const HEADER: &str = "grpc-timeout";
/// The most digits of a time, as gRPC says.
const MAX_DIGITS: usize = 8;

/// A service whose calls are given up when the caller no longer waits for the beginning of the answer.
#[derive(Clone)]
pub(super) struct Deadlines<S>(pub(super) S);

impl<S> Service<Request<Body>> for Deadlines<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Future: Send + 'static>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let given = given(request.headers());
        let answer = self.0.call(request);
        Box::pin(async move {
            let Some(given) = given else { return answer.await };
            tokio::time::timeout(given, answer)
                .await
                .unwrap_or_else(|_| Ok(Status::deadline_exceeded("the caller's time is over").into_http()))
        })
    }
}

/// The time in the header; `None` if there is none, or it cannot be understood.
fn given(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= MAX_DIGITS)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 60 * 60)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_up_to_eight_digits_and_a_unit() {
        let read =
            |text: &'static str| given(&HeaderMap::from_iter([(HEADER.parse().unwrap(), text.parse().unwrap())]));
        assert_eq!(read("2H"), Some(Duration::from_hours(2)));
        assert_eq!(read("3M"), Some(Duration::from_mins(3)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        for bad in ["", "S", "1", "1d", "123456789S", "-1S", "1.5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(given(&HeaderMap::new()), None);
    }
}
