//! A trainer's side of the service: reports telemetry and gets the learning rate of each step.
//!
//! Training never stops because of the service: [`Trainer::directive`] takes no longer than its deadline, and goes on
//! with the plan while the service is away. Reports are kept until the service says that they are durable, and are sent
//! again on every new connection.

mod error;
mod fallback;
mod link;
mod options;
mod outbox;
mod rates;
mod sample;
mod trainer;

pub use error::Error;
pub use fallback::FallbackSteps;
pub use lrs_runtime::backoff::Backoff;
pub use options::Options;
pub use rates::{Directive, Standing};
pub use sample::Sample;
pub use trainer::{Totals, Trainer};
