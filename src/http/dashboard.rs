//! The convergence monitor: its pages and what they are made of. What they show is the JSON under `/v1/`.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;
use tonic::Status;

use super::Problem;

/// The files under `src/http/dashboard/assets/`, in the program itself.
#[derive(RustEmbed)]
#[folder = "src/http/dashboard/assets/"]
struct Assets;

/// What the pages may load: what comes from this server. Plotly sets styles on elements and makes pictures.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
                      object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// All jobs.
pub(super) fn fleet() -> Response {
    page("index.html", StatusCode::OK)
}

/// One job; the page itself says if there is none.
pub(super) async fn job() -> Response {
    page("job.html", StatusCode::OK)
}

/// Several jobs over one another.
pub(super) async fn compare() -> Response {
    page("compare.html", StatusCode::OK)
}

/// There is no such page.
pub(super) fn nothing() -> Response {
    page("nothing.html", StatusCode::NOT_FOUND)
}

/// A script, a style sheet or an icon.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    if name == "plotly.min.js" {
        return ([(header::CONTENT_TYPE, "text/javascript"), (header::CACHE_CONTROL, "max-age=86400")], plotly())
            .into_response();
    }
    let kind = match name.rsplit('.').next() {
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("svg") => "image/svg+xml",
        _ => return missing(&name),
    };
    let Some(file) = Assets::get(&name) else { return missing(&name) };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], file.data).into_response()
}

/// The drawing library, as it comes with its crate: the first of the scripts that it gives out.
fn plotly() -> &'static str {
    static SCRIPTS: LazyLock<String> = LazyLock::new(plotly::Plot::offline_js_sources);
    let inner = SCRIPTS.split_once('>').map_or("", |(_, rest)| rest);
    inner.split_once("</script>").map_or(inner, |(script, _)| script)
}

fn page(name: &'static str, status: StatusCode) -> Response {
    let Some(file) = Assets::get(name) else { return missing(name) };
    let mut response = (status, file.data).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn missing(name: &str) -> Response {
    Problem::with_http(Status::not_found(format!("there is no asset {name}")), StatusCode::NOT_FOUND).into_response()
}
