//! The laws of the rooms without a server: the house, schedules and their golden curves, the job's pure heart, the
//! closed loop on a small training, the report, and the packages for PyPI.

mod architecture;
mod closed_loop;
mod golden_plateau;
mod golden_schedules;
mod heart;
mod interface;
mod library_schedules;
mod packages;
mod report;
mod schedule_docs;
mod schedule_forms;
mod schedule_laws;
mod schedule_wire;
