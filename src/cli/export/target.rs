//! Who takes an export.

use super::column::Table;
use crate::cli::failure::Failure;
use lrs_engine::Directive;
use lrs_model::telemetry::Sample;
use lrs_proto::Decision;

/// What takes the history of a job, in step order.
pub(super) trait Target {
    /// Whether it takes what `table` has.
    fn wants(&self, table: Table) -> bool;
    /// Takes records.
    fn telemetry(&mut self, records: &[Sample]) -> Result<(), Failure>;
    /// Takes what trainers were told.
    fn rates(&mut self, directives: &[Directive]) -> Result<(), Failure>;
    /// Takes decisions, in the order they were recorded.
    fn decisions(&mut self, decisions: &[Decision]) -> Result<(), Failure>;
}
