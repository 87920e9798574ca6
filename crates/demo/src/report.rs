//! The audit report of the demo's experiment, as a page.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::error::Error;
use lrs_proto::AuditReport;
use lrs_report as document;

/// Writes the report to `path`, or else to a file of its own in the temporary directory; where it is.
pub fn write(report: &AuditReport, path: Option<&Path>) -> Result<PathBuf, Error> {
    let path = match path {
        Some(path) => path.to_owned(),
        None => own_file()?,
    };
    let failed = |source| Error::File { path: path.clone(), source };
    fs::write(&path, document::html(report)).map_err(failed)?;
    Ok(path)
}

fn own_file() -> Result<PathBuf, Error> {
    let file =
        tempfile::Builder::new().prefix("lrs-demo-report-").suffix(".html").tempfile().map_err(Error::Directory)?;
    let (_, path) = file.keep().map_err(|problem| Error::Directory(problem.error))?;
    Ok(path)
}
