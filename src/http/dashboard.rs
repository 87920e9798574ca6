//! The convergence monitor: its pages and what they are made of. What they show is the JSON under `/v1/`.

use axum::{
    body::Bytes,
    extract::Path,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;
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
    let (contents, cache) = if name == "plotly.min.js" {
        // It changes when the program does, and is large.
        (Bytes::from_static(lrs_plotly::SCRIPT.as_bytes()), "max-age=86400")
    } else {
        let Some(file) = Assets::get(&name) else { return missing(&name) };
        (file.data.into_owned().into(), "no-cache")
    };
    File { name, contents, media_type, cache }.answer(&request).await
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
