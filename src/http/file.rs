//! Files that pages load. Each has an etag that changes with its contents, so that a browser loads it once, and is
//! gzipped for callers that accept gzip.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::Write as _,
    sync::{LazyLock, Mutex, PoisonError},
};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use flate2::{Compression, write::GzEncoder};
use lrs_model::etag;

/// A file as it is sent.
pub(super) struct File {
    /// Its name. The gzipped contents are cached under it.
    pub(super) name: String,
    /// Its contents.
    pub(super) contents: Bytes,
    /// Its media type.
    pub(super) media_type: &'static str,
    /// The value of `cache-control`.
    pub(super) cache: &'static str,
}

impl File {
    /// The answer to a request with these headers.
    pub(super) async fn answer(self, request: &HeaderMap) -> Response {
        let tag = tag(&self.contents);
        let (plain, packed) = (etag::of(&tag), etag::of(format_args!("{tag}-gzip")));
        let takes_packed = takes_gzip(request);
        let headers: [(HeaderName, HeaderValue); 4] = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.media_type)),
            (header::CACHE_CONTROL, HeaderValue::from_static(self.cache)),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
            (header::ETAG, value(if takes_packed { &packed } else { &plain })),
        ];
        if has(request, &plain) || has(request, &packed) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        if !takes_packed {
            return (headers, self.contents).into_response();
        }
        match tokio::task::spawn_blocking(move || gzip(self.name, tag, &self.contents)).await {
            Ok(bytes) => (headers, [(header::CONTENT_ENCODING, "gzip")], bytes).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("\"\""))
}

fn tag(contents: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    format!("{:x}-{:016x}", contents.len(), hasher.finish())
}

/// Whether the caller already has the contents with this etag.
fn has(request: &HeaderMap, tag: &str) -> bool {
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|list| list.split(',')).map(str::trim);
    known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn takes_gzip(request: &HeaderMap) -> bool {
    let codings = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    codings.flat_map(|list| list.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_some_and(|weight| weight > 0.0)
    })
}

/// The gzipped contents of a file. They are cached, because the largest file takes a moment.
fn gzip(name: String, tag: String, contents: &[u8]) -> Bytes {
    static PACKED: LazyLock<Mutex<HashMap<String, (String, Bytes)>>> = LazyLock::new(Mutex::default);
    let mut packed = PACKED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, bytes)) = packed.get(&name).filter(|(known, _)| *known == tag) {
        return bytes.clone();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let bytes = encoder.write_all(contents).and_then(|()| encoder.finish()).map(Bytes::from).unwrap_or_default();
    packed.insert(name, (tag, bytes.clone()));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn gzip_is_for_those_who_take_it() {
        for (accept, expected) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("x-gzip", false),
            ("*", false),
        ] {
            assert_eq!(takes_gzip(&request(header::ACCEPT_ENCODING, accept)), expected, "{accept}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn what_someone_has_is_known_by_any_of_its_tags() {
        assert!(has(&request(header::IF_NONE_MATCH, "\"b\", W/\"a\""), "\"a\""));
        assert!(has(&request(header::IF_NONE_MATCH, "*"), "\"a\""));
        assert!(!has(&request(header::IF_NONE_MATCH, "\"ab\""), "\"a\""));
    }
}
