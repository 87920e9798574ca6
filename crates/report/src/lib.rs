//! An audit report for people: the same outline as Markdown, and as a page with charts that needs nothing else.
//!
//! Documents are made from the message, so that a server and a client that has the message make the same bytes.

mod chart;
mod figures;
mod html;
mod markdown;
mod outline;

use lrs_proto::AuditReport;

/// The report as a page: styles, scripts and data within, so that it opens without network or server. Whatever the report holds is text in it.
#[must_use]
pub fn html(report: &AuditReport) -> String {
    html::page(&outline::outline(report))
}

/// The report as Markdown, without charts.
#[must_use]
pub fn markdown(report: &AuditReport) -> String {
    markdown::text(&outline::outline(report))
}
