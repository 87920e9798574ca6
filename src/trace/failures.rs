//! The line that a failing call leaves in the log: what failed, why, and who called. There are at most so many a
//! second, so that no caller fills the disk; the others are counted.

use std::{collections::HashMap, sync::Arc, time::Duration};

use lrs_runtime::{metrics, secret::without_addresses, throttle::Throttle};
use tokio::time::{MissedTickBehavior, interval};
use tracing::Level;

use super::Call;

/// Lines a second about one method.
const A_METHOD: u32 = 5;
/// Lines a second about all methods of an interface.
const ALL: u32 = 20;
/// How often the log says how many lines it lacks.
const PERIOD: Duration = Duration::from_secs(10);
/// The most characters of a reason.
const MAX_WHY_CHARS: usize = 500;

/// Why an HTTP request failed, as an extension of its answer.
#[derive(Clone, Debug)]
pub struct Why(pub String);

/// The failing calls of an interface. Cheap to clone.
#[derive(Clone)]
pub struct Failures(Arc<Inner>);

struct Inner {
    all: Throttle,
    by_method: HashMap<String, Throttle>,
    other: Throttle,
}

impl Failures {
    /// Of an interface with these methods.
    #[must_use]
    pub fn new(methods: impl IntoIterator<Item = String>) -> Self {
        let by_method = methods.into_iter().map(|method| (method, Throttle::new(A_METHOD))).collect();
        Self(Arc::new(Inner { all: Throttle::new(ALL), by_method, other: Throttle::new(A_METHOD) }))
    }

    /// Says that `call` of `method` failed with `code`, because of `why`. `level` says whose fault it is: `INFO` is the
    /// caller's, the others are ours.
    pub fn tell(&self, call: &Arc<Call>, method: &str, level: Level, code: &str, why: &str) {
        let throttle = self.0.by_method.get(method).unwrap_or(&self.0.other);
        if !throttle.passes() {
            return metrics::log_line_left_out();
        }
        if !self.0.all.passes() {
            throttle.leave_out();
            return metrics::log_line_left_out();
        }
        let why = &*without_addresses(why);
        let why = match why.char_indices().nth(MAX_WHY_CHARS) {
            Some((end, _)) => &why[..end],
            None => why,
        };
        let peer = call.peer();
        call.within(|| match level {
            Level::ERROR => tracing::error!(code, %peer, "{method} failed with {code}: {why}"),
            Level::WARN => tracing::warn!(code, %peer, "{method} failed with {code}: {why}"),
            _ => tracing::info!(code, %peer, "{method} failed with {code}: {why}"),
        });
    }

    /// Says now and then how many lines the log lacks, until it is dropped.
    pub async fn say_left_out(self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let methods = self.0.by_method.iter().map(|(method, throttle)| (method.as_str(), throttle));
            let left_out = methods.chain([("other", &self.0.other)]);
            let mut left_out: Vec<(u64, &str)> =
                left_out.map(|(method, throttle)| (throttle.take_left_out(), method)).collect();
            left_out.retain(|(count, _)| *count > 0);
            let Some(count) = left_out.iter().map(|(count, _)| count).copied().reduce(u64::saturating_add) else {
                continue;
            };
            left_out.sort_unstable_by(|a, b| b.cmp(a));
            let (most, method) = left_out[0];
            tracing::warn!(count, "{count} failing calls left no line here, {most} of them of {method}");
        }
    }
}
