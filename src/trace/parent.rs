//! The trace that a call belongs to, as its caller says: W3C Trace Context, <https://www.w3.org/TR/trace-context/>.
//!
//! What is malformed is ignored, as the standard asks.

use http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// The longest `traceparent` of a later version, and the longest `tracestate`, that is taken.
const LONGEST: usize = 512;

/// The caller's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parent<'a> {
    /// 32 hexadecimal digits.
    pub(super) trace_id: &'a str,
    /// 16 hexadecimal digits: the caller's span.
    pub(super) span_id: &'a str,
    /// What tracing systems add, if there is one such header.
    pub(super) state: Option<&'a str>,
}

impl<'a> Parent<'a> {
    /// The place that the headers say, if they say one.
    pub(super) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let (trace_id, span_id) = parse(only(headers, &TRACEPARENT)?)?;
        let state = only(headers, &TRACESTATE).filter(|state| (1..=LONGEST).contains(&state.len()));
        Some(Self { trace_id, span_id, state })
    }
}

/// The value of a header that is there once, in visible ASCII.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

/// Trace and parent of `version-trace-parent-flags`, in lower-case hexadecimal digits.
fn parse(text: &str) -> Option<(&str, &str)> {
    if text.len() > LONGEST {
        return None;
    }
    let mut parts = text.splitn(5, '-');
    let (version, trace_id, parent_id) = (parts.next()?, parts.next()?, parts.next()?);
    let flags = parts.next()?;
    let is_hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_some = |part: &str| part.bytes().any(|byte| byte != b'0');
    let is_known_version = version != "00" || text.len() == LENGTH;
    let is_well_formed = is_hex(version, 2)
        && version != "ff"
        && is_known_version
        && is_hex(trace_id, 32)
        && is_some(trace_id)
        && is_hex(parent_id, 16)
        && is_some(parent_id)
        && is_hex(flags, 2);
    is_well_formed.then_some((trace_id, parent_id))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn a_trace_is_read_in_this_version_and_in_later_ones() {
        for text in [format!("00-{TRACE}-{PARENT}-01"), format!("cc-{TRACE}-{PARENT}-01-what-comes-later")] {
            assert_eq!(parse(&text), Some((TRACE, PARENT)), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_no_trace() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("0-{TRACE}-{PARENT}-01"),
            format!("00-{zeros}-{PARENT}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{PARENT}-0g"),
            format!("01-{TRACE}-{PARENT}-01-{}", "x".repeat(LONGEST)),
            "größe".to_owned(),
        ] {
            assert_eq!(parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_header_that_is_there_twice_is_none() {
        let value = HeaderValue::try_from(format!("00-{TRACE}-{PARENT}-01")).unwrap();
        let mut headers = HeaderMap::from_iter([(TRACEPARENT, value.clone())]);
        headers.insert(TRACESTATE, HeaderValue::try_from("x".repeat(LONGEST + 1)).unwrap());
        assert_eq!(Parent::of(&headers), Some(Parent { trace_id: TRACE, span_id: PARENT, state: None }));
        headers.append(TRACEPARENT, value);
        assert_eq!(Parent::of(&headers), None);
    }
}
