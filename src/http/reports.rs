//! Audit reports as documents: `…:report?format=html` or `markdown`, made of the answer that is JSON otherwise.

use axum::{
    body::Bytes,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use lrs_model::violation::Violations;
use lrs_proto::AuditReport;
use lrs_report as document;
use prost::{Message as _, Name as _};
use tonic::Status;

use super::Problem;

/// The parameter that asks for a document.
const PARAMETER: &str = "format";
/// A page may run its own scripts and reach nothing.
const PAGE_POLICY: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:";

/// The documents that a report can be written as.
const FORMS: [Form; 2] = [
    Form { name: "html", media_type: "text/html; charset=utf-8", text: document::html },
    Form { name: "markdown", media_type: "text/markdown; charset=utf-8", text: document::markdown },
];

/// A kind of document.
#[derive(Clone, Copy)]
pub(super) struct Form {
    name: &'static str,
    media_type: &'static str,
    text: fn(&AuditReport) -> String,
}

/// Takes `format` out of the parameters of a method that answers a report. `None` is JSON.
pub(super) fn take_form(
    answer: &str,
    parameters: &mut Vec<(String, String)>,
    violations: &mut Violations,
) -> Option<Form> {
    if answer != AuditReport::full_name() {
        return None;
    }
    let mut asked = Vec::new();
    parameters.retain(|(name, text)| {
        name != PARAMETER || {
            asked.push(text.clone());
            false
        }
    });
    if asked.len() > 1 {
        violations.add(PARAMETER, "is given twice");
    }
    let asked = asked.pop()?;
    let form = FORMS.into_iter().find(|form| form.name == asked);
    if form.is_none() && asked != "json" {
        violations.refuse(PARAMETER, format_args!("{asked:?}"), "json, html or markdown");
    }
    form
}

impl Form {
    /// The document of a report in its wire form.
    pub(super) async fn write(self, report: Bytes) -> Result<Response, Problem> {
        let report = AuditReport::decode(report).map_err(|problem| Status::internal(problem.to_string()))?;
        let text = tokio::task::spawn_blocking(move || (self.text)(&report))
            .await
            .map_err(|_| Status::internal("the report could not be written"))?;
        let headers: [(HeaderName, HeaderValue); 2] = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.media_type)),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY)),
        ];
        Ok((headers, text).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(answer: &str, formats: &[&str]) -> (Option<&'static str>, usize, Violations) {
        let formats = formats.iter().map(|&text| ("format".to_owned(), text.to_owned()));
        let mut parameters: Vec<_> = formats.chain([("target".to_owned(), "1".to_owned())]).collect();
        let mut violations = Violations::new();
        let form = take_form(answer, &mut parameters, &mut violations);
        (form.map(|form| form.name), parameters.len(), violations)
    }

    #[test]
    fn only_reports_have_documents() {
        let (form, left, violations) = taken("lrs.v1.AuditReport", &["html"]);
        assert_eq!((form, left, violations.is_empty()), (Some("html"), 1, true));
        assert_eq!(taken("lrs.v1.AuditReport", &["json"]).0, None);
        assert_eq!(taken("lrs.v1.Job", &["html"]).1, 2);
    }

    #[test]
    fn what_is_no_document_is_refused_with_those_there_are() {
        let text = taken("lrs.v1.AuditReport", &["pdf"]).2.to_string();
        assert_eq!(text, "format: \"pdf\" is not allowed: must be json, html or markdown");
        assert_eq!(taken("lrs.v1.AuditReport", &["html", "json"]).2.to_string(), "format: is given twice");
    }
}
