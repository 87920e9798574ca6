//! The pages of the convergence monitor, with their scripts and styles. They show the JSON under `/v1/`.

use axum::{
    body::Bytes,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use lrs_model::decision::Topic;
use rust_embed::RustEmbed;
use serde_json::{Map, Value};
use tonic::Status;

use super::{Problem, file::File};

/// The files under `src/http/dashboard/assets/`, in the program itself.
#[derive(RustEmbed)]
#[folder = "src/http/dashboard/assets/"]
struct Assets;

/// What the pages may load: what comes from this server. Plotly sets styles on elements and makes pictures.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
                      object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// All jobs.
pub(super) async fn fleet(request: HeaderMap) -> Response {
    page("index.html", &request).await
}

/// One job; the page itself says if there is none.
pub(super) async fn job(request: HeaderMap) -> Response {
    page("job.html", &request).await
}

/// Several jobs over one another.
pub(super) async fn compare(request: HeaderMap) -> Response {
    page("compare.html", &request).await
}

/// There is no such page.
pub(super) async fn nothing() -> Response {
    let mut response = page("nothing.html", &HeaderMap::new()).await;
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// The experiments, or the audit report of one or of a job; the page itself says if there is none.
pub(super) async fn reports(request: HeaderMap) -> Response {
    page("reports.html", &request).await
}

/// A script, a style sheet or an icon.
pub(super) async fn asset(Path(name): Path<String>, request: HeaderMap) -> Response {
    let media_type = match name.rsplit('.').next() {
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        _ => return missing(&name),
    };
    let (contents, cache) = match name.as_str() {
        // It changes only with the program, and is large.
        "plotly.min.js" => (Bytes::from_static(lrs_plotly::SCRIPT.as_bytes()), "max-age=86400"),
        "topics.js" => (topics().into(), "no-cache"),
        _ => {
            let Some(file) = Assets::get(&name) else { return missing(&name) };
            (file.data.into_owned().into(), "no-cache")
        }
    };
    File { name, contents, media_type, cache }.answer(&request).await
}

/// A script with what people call advice, by its topic.
fn topics() -> String {
    let words = |topic: &Topic| {
        let (first, rest) = topic.words().split_at(1);
        (topic.name().to_owned(), Value::from(first.to_uppercase() + rest))
    };
    let topics: Map<String, Value> = Topic::ALL.iter().map(words).collect();
    format!("// Made by the server.\n\nexport const TOPICS = {};\n", Value::Object(topics))
}

async fn page(name: &'static str, request: &HeaderMap) -> Response {
    let Some(file) = Assets::get(name) else { return missing(name) };
    let contents = file.data.into_owned().into();
    let file = File { name: name.to_owned(), contents, media_type: "text/html; charset=utf-8", cache: "no-cache" };
    let mut response = file.answer(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn missing(name: &str) -> Response {
    Problem::with_http(Status::not_found(format!("there is no asset {name}")), StatusCode::NOT_FOUND).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_have_words_for_every_topic() {
        let script = topics();
        assert!(script.contains(r#""TOPIC_STOP":"Advice to stop""#), "{script}");
        assert!(Topic::ALL.iter().all(|topic| script.contains(topic.name())), "{script}");
    }
}
