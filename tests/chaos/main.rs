//! Chaos on real processes: dozens of trainers of one or more servers. Servers are killed, stopped and cut off from
//! trainers and from their database, and the database is killed, runs out of room or comes back older; the checker of
//! the promises watches all that the trainers see.
//!
//! A short run is part of `cargo test`; `make chaos REPLICAS=2 MINUTES=30` is a long run. `LRS_CHAOS_SEED` repeats the
//! random draws of a run, but not its timing, which depends on the machine. `LRS_CHAOS_PLANTED=0` leaves out the
//! planted bugs. The last lines have the totals. The exit status is 0 only if nothing was lost and nothing disagrees.

mod auditor;
mod done;
mod faults;
mod fleet;
mod job;
mod ledger;
mod mischief;
mod older;
mod operator;
mod outbox;
mod planted;
#[path = "../support/postgres.rs"]
mod postgres;
#[path = "../support/promises/checker.rs"]
mod promises;
mod proxy;
mod rank;
mod replica;
mod round;
mod seen;
mod service;
#[path = "../support/small_disk.rs"]
mod small_disk;
mod stream;
mod way;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use done::Done;
use fleet::Database;
use planted::Plant;
use promises::{Counts, Violation};
use round::Round;

/// How long a round lasts in a short run, and in a long one.
const SHORT_ROUND: Duration = Duration::from_secs(12);
const LONG_ROUND: Duration = Duration::from_mins(1);

/// The most rounds in which a planted bug must be caught, and how long each lasts.
const PLANTED_ROUNDS: u64 = 6;
const PLANTED_ROUND: Duration = Duration::from_secs(40);

/// What a run has found.
#[derive(Default)]
struct Findings {
    done: Done,
    counts: Counts,
    violations: Vec<Violation>,
    uncaught: Vec<Plant>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == planted::SERVE).is_some() {
        return planted::serve(arguments);
    }
    run()
}

#[expect(clippy::disallowed_methods, reason = "a test on real time, with settings from outside")]
fn run() -> ExitCode {
    let set = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let minutes = set("LRS_CHAOS_MINUTES");
    let replicas = set("LRS_CHAOS_REPLICAS").and_then(|replicas| usize::try_from(replicas).ok());
    let first_seed = set("LRS_CHAOS_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    let length = if minutes.is_some() { LONG_ROUND } else { SHORT_ROUND };
    let kinds = match replicas {
        Some(replicas @ 2..) => vec![(Database::Postgres, replicas)],
        Some(_) => vec![(Database::Sqlite, 1), (Database::Postgres, 1)],
        None => vec![(Database::Sqlite, 1), (Database::Postgres, 1), (Database::Postgres, 2)],
    };
    let begun = Instant::now();
    let is_over = || minutes.is_none_or(|minutes| begun.elapsed() >= Duration::from_mins(minutes));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");

    let mut findings = Findings::default();
    let plants = set("LRS_CHAOS_PLANTED") != Some(0);
    if let (Some(_), Some(replicas @ 2..), true) = (minutes, replicas, plants) {
        findings.uncaught = uncaught(&runtime, replicas, first_seed);
    }
    for seed in first_seed.. {
        for &(database, replicas) in &kinds {
            println!("chaos: seed {seed}: {replicas} server(s) on {database:?} for {} s", length.as_secs());
            let outcome = runtime.block_on(round::run(Round { database, replicas, length, plant: None }, seed));
            println!("chaos: seed {seed}: {}", outcome.done);
            findings.done.add(outcome.done);
            findings.counts.add(&outcome.counts);
            findings.violations.extend(outcome.violations);
        }
        if is_over() || !findings.violations.is_empty() {
            break;
        }
    }
    findings.sum_up(first_seed)
}

/// The planted bugs that are not caught within some rounds.
#[expect(clippy::disallowed_methods, reason = "a test on real time")]
fn uncaught(runtime: &Runtime, replicas: usize, seed: u64) -> Vec<Plant> {
    let is_uncaught = |plant: &Plant| {
        for number in 0..PLANTED_ROUNDS {
            let (database, length, seed) = (Database::Postgres, PLANTED_ROUND, seed + number);
            let round = Round { database, replicas, length, plant: Some(*plant) };
            let begun = Instant::now();
            let outcome = runtime.block_on(round::run(round, seed));
            if let Some(violation) = outcome.violations.first() {
                let (rounds, time) = (number + 1, begun.elapsed());
                println!("chaos: planted {}: caught in round {rounds} after {time:.0?}: {violation}", plant.name());
                return false;
            }
        }
        println!("chaos: planted {}: not caught in {PLANTED_ROUNDS} rounds", plant.name());
        true
    };
    Plant::ALL.into_iter().filter(is_uncaught).collect()
}

impl Findings {
    fn sum_up(&self, first_seed: u64) -> ExitCode {
        let Self { done, counts, violations, uncaught } = self;
        let lost = violations.iter().filter(|violation| matches!(violation.promise, 2 | 4)).count();
        println!("chaos: from seed {first_seed} on: {done}");
        println!(
            "orders {}, decisions recomputed {}; gone with the database: samples and orders {}, rates {}",
            counts.orders, counts.decisions, counts.lost_with_database, counts.changed_with_database,
        );
        println!(
            "samples acknowledged {}, lost {lost}, rates compared {}, disagreements {}",
            counts.acknowledged,
            counts.compared,
            violations.len() - lost,
        );
        let did_nothing = counts.acknowledged == 0 || counts.compared == 0 || done.kills == 0;
        ExitCode::from(u8::from(did_nothing || !violations.is_empty() || !uncaught.is_empty()))
    }
}
