//! `ReportService` under `/v1/`, and the same report as a page: `…:report?format=html`.

use std::collections::HashMap;

use axum::{
    extract::{Path, State},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use tonic::{Request, Status};

use super::{
    Problem, Shared,
    body::answer,
    params::{Params, Target, invalid_error},
};
use lrs_proto::{GetAuditReportRequest, get_audit_report_request::Subject, report_service_server::ReportService as _};
use lrs_report as document;

/// A page may run its own scripts and reach nothing.
const PAGE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";

/// The query of a report.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    format: Option<String>,
    target: Option<String>,
}

/// The report of a job.
pub(super) async fn of_job(shared: &Shared, target: &Target, params: Params) -> Result<Response, Problem> {
    report(shared, Subject::Job(target.name()), params).await
}

/// `/v1/namespaces/{namespace}/experiments/{experiment}:report`.
pub(super) async fn of_experiment(
    State(shared): State<Shared>,
    Path(names): Path<HashMap<String, String>>,
    params: Params,
) -> Result<Response, Problem> {
    let part = |name: &str| names.get(name).map(String::as_str).unwrap_or_default();
    let Some((experiment, "report")) = part("experiment").rsplit_once(':') else {
        return Err(Status::not_found("an experiment has one method: GET …/experiments/{experiment}:report").into());
    };
    let name = format!("namespaces/{}/experiments/{experiment}", part("namespace"));
    report(&shared, Subject::Experiment(name), params).await
}

async fn report(shared: &Shared, subject: Subject, params: Params) -> Result<Response, Problem> {
    let asked: Asked = params.read()?;
    let format = asked.format.unwrap_or_else(|| "json".to_owned());
    let target = asked.target.map(|text| number("target", &text)).transpose()?;
    let request = GetAuditReportRequest { subject: Some(subject), target };
    let write: fn(&lrs_proto::AuditReport) -> String = match format.as_str() {
        "json" => return answer(shared.services.reports.get_audit_report(Request::new(request)).await),
        "html" => document::html,
        "markdown" => document::markdown,
        other => {
            return Err(invalid_error(
                "format",
                format_args!("{other:?} is not allowed: must be json, html or markdown"),
            )
            .into());
        }
    };
    let report = shared.services.reports.get_audit_report(Request::new(request)).await?.into_inner();
    let media_type = if format == "html" { "text/html; charset=utf-8" } else { "text/markdown; charset=utf-8" };
    let text = tokio::task::spawn_blocking(move || write(&report))
        .await
        .map_err(|_| Status::internal("the report could not be written"))?;
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY)),
    ];
    Ok((headers, text).into_response())
}

fn number(field: &str, text: &str) -> Result<f64, Problem> {
    text.parse().map_err(|_| invalid_error(field, format_args!("{text:?} is no number")).into())
}
