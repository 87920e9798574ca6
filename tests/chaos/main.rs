//! Chaos on real processes: dozens of trainers of one server. The server is killed, stopped and cut off, and its
//! database is killed or runs out of room; the checker of the promises watches all that the trainers see.
//!
//! A short run is part of `cargo test`; `make chaos MINUTES=30` is a long run. `LRS_CHAOS_SEED` repeats the random
//! draws of a run, but not its timing, which depends on the machine. The last line has the totals. The exit status is 0
//! only if nothing was lost.

mod job;
mod ledger;
mod mischief;
mod operator;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/promises/checker.rs"]
mod promises;
mod proxy;
mod rank;
mod round;
#[path = "../support/server.rs"]
#[expect(dead_code, reason = "shared with other tests, which use the rest")]
mod server;
#[path = "../support/small_disk.rs"]
mod small_disk;
mod way;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use mischief::Done;
use promises::Counts;
use round::Database;

/// How long a round lasts in a short run, and in a long one.
const SHORT_ROUND: Duration = Duration::from_secs(15);
const LONG_ROUND: Duration = Duration::from_mins(1);

#[expect(clippy::disallowed_methods, reason = "a test on real time, with settings from outside")]
fn main() -> ExitCode {
    let set = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let minutes = set("LRS_CHAOS_MINUTES");
    let first_seed = set("LRS_CHAOS_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    let length = if minutes.is_some() { LONG_ROUND } else { SHORT_ROUND };
    let begun = Instant::now();
    let is_over = || minutes.is_none_or(|minutes| begun.elapsed() >= Duration::from_mins(minutes));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    let (mut done, mut counts, mut violations) = (Done::default(), Counts::default(), Vec::new());
    for seed in first_seed.. {
        for database in [Database::Sqlite, Database::Postgres] {
            println!("chaos: seed {seed} on {database:?} for {} s", length.as_secs());
            let outcome = runtime.block_on(round::run(database, seed, length));
            done.add(&outcome.done);
            counts.add(&outcome.counts);
            violations.extend(outcome.violations);
        }
        if is_over() || !violations.is_empty() {
            break;
        }
    }
    let lost = violations.iter().filter(|violation| matches!(violation.promise, 2 | 4)).count();
    let Done { kills, stops, cuts, full_disks } = done;
    println!(
        "chaos: stops {stops}, cuts {cuts}, full disks {full_disks}, orders {}, decisions recomputed {}",
        counts.orders, counts.decisions
    );
    println!(
        "kills {kills}, samples acknowledged {}, lost {lost}, rates compared {}, disagreements {}",
        counts.acknowledged,
        counts.compared,
        violations.len() - lost,
    );
    let did_nothing = counts.acknowledged == 0 || counts.compared == 0 || kills == 0;
    ExitCode::from(u8::from(did_nothing || !violations.is_empty()))
}
