//! What takes an export.

use crate::{column::Table, error::Error};
use lrs_model::telemetry::Sample;
use lrs_proto::{Decision, Directive};

/// What takes the history of a job, in step order.
pub trait Target {
    /// Whether it takes the rows of `table`.
    fn wants(&self, table: Table) -> bool;

    /// Takes records.
    ///
    /// # Errors
    /// If they cannot be written.
    fn telemetry(&mut self, records: &[Sample]) -> Result<(), Error>;

    /// Takes the directives that trainers were given.
    ///
    /// # Errors
    /// If they cannot be written.
    fn rates(&mut self, directives: &[Directive]) -> Result<(), Error>;

    /// Takes decisions, in the order they were recorded.
    ///
    /// # Errors
    /// If they cannot be written.
    fn decisions(&mut self, decisions: &[Decision]) -> Result<(), Error>;
}
