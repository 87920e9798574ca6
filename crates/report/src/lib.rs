//! An audit report for people: as Markdown, and as a self-contained page with charts.
//!
//! Both are made from the message alone, so that the server and `lrs report --from` make the same bytes.

mod chart;
mod figures;
mod html;
mod markdown;
mod outline;

use lrs_proto::AuditReport;

/// The report as a page that contains its styles, scripts and data, so that it opens without network or server. All
/// text of the report is escaped.
#[must_use]
pub fn html(report: &AuditReport) -> String {
    html::page(&outline::outline(report))
}

/// The report as Markdown, without charts.
#[must_use]
pub fn markdown(report: &AuditReport) -> String {
    markdown::text(&outline::outline(report))
}
