//! Chaos on real processes: dozens of trainers of one or more servers. Servers are killed, stopped and cut off from
//! trainers and from their database, and the database is killed, runs out of room or comes back older; the checker of
//! the promises watches all that the trainers see.
//!
//! A short run is part of `cargo test`; `make chaos REPLICAS=2 MINUTES=30` is a long run. `LRS_CHAOS_SEED` repeats the
//! random draws of a run, but not its timing, which depends on the machine. The last lines have the totals. The exit
//! status is 0 only if nothing was lost and nothing disagrees.

mod auditor;
mod disk;
mod done;
mod faults;
mod fleet;
mod job;
mod ledger;
mod mischief;
mod older;
mod operator;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/promises/checker.rs"]
mod promises;
mod proxy;
mod rank;
mod replica;
mod round;
mod service;
mod way;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use done::Done;
use fleet::Database;
use promises::Counts;
use round::Round;

/// How long a round lasts in a short run, and in a long one.
const SHORT_ROUND: Duration = Duration::from_secs(12);
const LONG_ROUND: Duration = Duration::from_mins(1);

#[expect(clippy::disallowed_methods, reason = "a test on real time, with settings from outside")]
fn main() -> ExitCode {
    let set = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let minutes = set("LRS_CHAOS_MINUTES");
    let replicas = set("LRS_CHAOS_REPLICAS").and_then(|replicas| usize::try_from(replicas).ok());
    let first_seed = set("LRS_CHAOS_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    let length = if minutes.is_some() { LONG_ROUND } else { SHORT_ROUND };
    let rounds = match replicas {
        Some(replicas @ 2..) => vec![(Database::Postgres, replicas)],
        Some(_) => vec![(Database::Sqlite, 1), (Database::Postgres, 1)],
        None => vec![(Database::Sqlite, 1), (Database::Postgres, 1), (Database::Postgres, 2)],
    };
    let begun = Instant::now();
    let is_over = || minutes.is_none_or(|minutes| begun.elapsed() >= Duration::from_mins(minutes));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    let (mut done, mut counts, mut violations) = (Done::default(), Counts::default(), Vec::new());
    for seed in first_seed.. {
        for &(database, replicas) in &rounds {
            println!("chaos: seed {seed}: {replicas} server(s) on {database:?} for {} s", length.as_secs());
            let outcome = runtime.block_on(round::run(Round { database, replicas, length }, seed));
            println!("chaos: seed {seed}: {}", outcome.done);
            done.add(outcome.done);
            counts.add(&outcome.counts);
            violations.extend(outcome.violations);
        }
        if is_over() || !violations.is_empty() {
            break;
        }
    }
    let lost = violations.iter().filter(|violation| matches!(violation.promise, 2 | 4)).count();
    println!("chaos: from seed {first_seed} on: {done}");
    println!("orders {}, decisions recomputed {}", counts.orders, counts.decisions);
    println!(
        "samples acknowledged {}, lost {lost}, lost with the database {}; rates compared {}, disagreements {}",
        counts.acknowledged,
        counts.lost_with_database,
        counts.compared,
        violations.len() - lost,
    );
    let did_nothing = counts.acknowledged == 0 || counts.compared == 0 || done.kills == 0;
    ExitCode::from(u8::from(did_nothing || !violations.is_empty()))
}
