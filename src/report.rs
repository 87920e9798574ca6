//! The audit report of a job or an experiment: figures first, then the same as a document for people.
//!
//! [`audit`] is pure: what was recorded goes in, step by step, and figures come out. The same record gives the same bits, whenever and
//! wherever the report is made. What is random in a statistic (the resamples of the bootstrap) comes from a generator that is seeded by
//! the experiment's name.

pub mod audit;
pub mod document;
