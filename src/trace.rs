//! What is known of a call beside its request: its identifier, the trace it belongs to, who sent it. Every line of the
//! log that a call causes has them, and the answer has the identifier, so that people can quote it.

use std::{fmt, net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header::USER_AGENT};
use lrs_model::change::Origin;
use tracing::{Span, field};
use uuid::Uuid;

mod failures;
mod parent;

pub use failures::{Failures, Why};
use parent::Parent;

/// The header with the identifier of a request, in the request and in its answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The most characters of an identifier that a caller may give.
const MAX_REQUEST_ID_CHARS: usize = 128;

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// A call that has arrived.
#[derive(Debug)]
pub struct Call {
    request_id: HeaderValue,
    peer: Option<SocketAddr>,
    origin: Origin,
    span: Span,
}

impl Call {
    /// A call of `method` with these headers. A malformed identifier or trace counts as none.
    #[must_use]
    pub fn new(method: &str, headers: &HeaderMap, peer: Option<SocketAddr>) -> Arc<Self> {
        let given = headers.get(REQUEST_ID).filter(|id| is_request_id(id.as_bytes())).cloned();
        let request_id = given.unwrap_or_else(|| {
            let made = Uuid::now_v7().simple().to_string();
            HeaderValue::try_from(made).unwrap_or(HeaderValue::from_static("none"))
        });
        // A span of the highest level, so that the lines have its fields whatever the log's filter leaves out.
        let span = tracing::error_span!(
            "call",
            method,
            request_id = text(&request_id),
            trace_id = field::Empty,
            parent_id = field::Empty,
            tracestate = field::Empty,
            job = field::Empty,
            author = field::Empty,
        );
        if let Some(parent) = Parent::of(headers) {
            span.record("trace_id", parent.trace_id);
            span.record("parent_id", parent.span_id);
            if let Some(state) = parent.state {
                span.record("tracestate", state);
            }
        }
        Arc::new(Self { request_id, peer, origin: origin_of(headers), span })
    }

    /// The identifier of the request.
    #[must_use]
    pub fn request_id(&self) -> HeaderValue {
        self.request_id.clone()
    }

    /// Who called.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer(self.peer)
    }

    /// The span of the call.
    #[must_use]
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// `work` as part of the call.
    pub fn around<F: Future>(self: &Arc<Self>, work: F) -> impl Future<Output = F::Output> + use<F> {
        use tracing::Instrument as _;
        CALL.scope(Arc::clone(self), work).instrument(self.span.clone())
    }

    /// Does `work` as part of the call.
    pub fn within<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        let _entered = self.span.enter();
        CALL.sync_scope(Arc::clone(self), work)
    }
}

/// The address that a call came from, for people.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Option<SocketAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// The identifier of the call that is being answered.
#[must_use]
pub fn request_id() -> Option<String> {
    CALL.try_with(|call| text(&call.request_id).to_owned()).ok()
}

/// By which way the call came that is being answered.
#[must_use]
pub fn origin() -> Origin {
    CALL.try_with(|call| call.origin).unwrap_or_default()
}

/// The sender, as it says itself.
fn origin_of(headers: &HeaderMap) -> Origin {
    // Browsers add this header to what a page sends, and programs do not.
    if headers.contains_key("sec-fetch-site") {
        return Origin::Page;
    }
    let agent = headers.get(USER_AGENT).map(text).unwrap_or_default();
    let known = [("lrs-cli/", Origin::Cli), ("lrs-study/", Origin::Study), ("lrs-trainer/", Origin::Trainer)];
    known.into_iter().find(|(prefix, _)| agent.starts_with(prefix)).map_or(Origin::Api, |(_, origin)| origin)
}

/// Notes which job the call that is being answered is about.
pub fn about(job: &str) {
    Span::current().record("job", job);
}

/// Notes who says to have sent the call that is being answered.
pub fn by(author: &str) {
    Span::current().record("author", author);
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}

/// Whether an identifier can be taken over: short, and of characters that mean nothing in a log.
fn is_request_id(id: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID_CHARS).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/=+@".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(given: &'static [u8]) -> String {
        let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(given).unwrap())]);
        text(&Call::new("m", &headers, None).request_id).to_owned()
    }

    #[test]
    fn a_well_formed_identifier_is_taken_over_and_another_is_not() {
        assert_eq!(id_of(b"Root=1-67891233-abcdef012345678912345678"), "Root=1-67891233-abcdef012345678912345678");
        for bad in [&b""[..], b"a b", b"a\tb", b"\"", b"a;b", "größe".as_bytes(), &[b'a'; 129]] {
            let made = id_of(bad);
            assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
        }
    }

    #[test]
    fn a_sender_says_by_which_way_it_comes() {
        let origin = |name, value| origin_of(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))]));
        assert_eq!(origin(USER_AGENT, "lrs-cli/0.1.0 tonic/0.14"), Origin::Cli);
        assert_eq!(origin(USER_AGENT, "curl/8"), Origin::Api);
        assert_eq!(origin(HeaderName::from_static("sec-fetch-site"), "same-origin"), Origin::Page);
    }

    #[tokio::test]
    async fn whoever_works_on_a_call_knows_its_identifier() {
        let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static("r-1"))]);
        let call = Call::new("m", &headers, None);
        assert_eq!(request_id(), None);
        assert_eq!(call.around(async { request_id() }).await.as_deref(), Some("r-1"));
        assert_eq!(call.within(request_id).as_deref(), Some("r-1"));
    }
}
