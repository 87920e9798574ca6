//! Basics of every crate with tasks: the clock, heavy work, waits between tries, causes of errors, metrics, throttles,
//! addresses without their passwords.

pub mod backoff;
pub mod clock;
pub mod error;
pub mod heavy;
pub mod metrics;
pub mod secret;
pub mod throttle;
