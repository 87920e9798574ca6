//! The engine in a seeded simulation of everything around it: each seed is one run. See `docs/reliability.md`.
//!
//! `LRS_SIM_SEED=7 cargo test --test simulation` replays one seed and prints what happened. `LRS_SIM_SEEDS=100000` runs
//! that many seeds, from a random seed on; CI runs fewer.

#[path = "../support/promises/checker.rs"]
mod promises;

mod durable;
mod model;
mod network;
mod operator;
mod ownership;
mod planted;
mod process;
mod run;
mod seeds;
mod store;
mod stream;
mod trainer;
mod world;

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use planted::Plant;
use promises::{Counts, Violation};
use run::run;

/// How many seeds CI runs.
const SEEDS: u64 = 1000;
/// After this many failures no more seeds are run.
const MAX_FAILURES: usize = 10;

#[expect(clippy::disallowed_methods, reason = "which seeds to run is said in the environment")]
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Runs seeds on every core, until too many have failed.
fn run_all(seeds: std::ops::Range<u64>) -> (Counts, Vec<(u64, Violation)>) {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let results = Mutex::new((Counts::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, SeqCst);
                    if seed >= seeds.end || stop.load(SeqCst) {
                        return;
                    }
                    let outcome = run(seed, None, false);
                    let mut results = results.lock().unwrap();
                    results.0.add(&outcome.counts);
                    if let Some(violation) = outcome.violation {
                        results.1.push((seed, violation));
                        stop.store(results.1.len() >= MAX_FAILURES, SeqCst);
                    }
                }
            });
        }
    });
    results.into_inner().unwrap()
}

#[track_caller]
fn assert_kept(failed: &[(u64, Violation)]) {
    let shown = failed.iter().map(|(seed, violation)| {
        format!("seed {seed} breaks {violation}\n  replay it: LRS_SIM_SEED={seed} cargo test --test simulation no_seed -- --nocapture\n")
    });
    assert!(failed.is_empty(), "{}", shown.collect::<String>());
}

#[test]
fn no_seed_breaks_a_promise() {
    if let Some(seed) = setting("LRS_SIM_SEED") {
        let outcome = run(seed, None, true);
        println!("{}", outcome.lines.join("\n"));
        return assert_kept(&outcome.violation.into_iter().map(|violation| (seed, violation)).collect::<Vec<_>>());
    }
    let (first, count) = match setting("LRS_SIM_SEEDS") {
        Some(count) => (u64::from(rand::random::<u32>()), count),
        None => (0, SEEDS),
    };
    let (counts, failed) = run_all(first..first + count);
    println!("{count} seeds from {first} on: {counts:?}");
    assert_kept(&failed);
    assert!(counts.compared > count && counts.acknowledged > count, "the runs did nothing: {counts:?}");
    let Counts { searches, raises, cuts, divergences, stops, kept, restored, advised, removed, lost_tails, .. } =
        counts;
    for (times, what) in [
        (searches, "search for a rate comes to its end"),
        (raises, "raise is tried"),
        (cuts, "cut on a plateau"),
        (divergences, "divergence"),
        (stops, "advice of a controller to stop"),
        (kept, "copy is kept"),
        (restored, "copy is gone back to"),
        (advised, "advice is given out"),
        (removed, "telemetry is removed"),
        (lost_tails, "tail is lost"),
    ] {
        assert!(times > count / 200, "hardly any {what}: {counts:?}");
    }
}

#[test]
fn seeds_that_found_something_find_nothing_any_more() {
    for (seed, found) in seeds::FOUND {
        let violation = run(*seed, None, false).violation;
        assert!(violation.is_none(), "seed {seed}, which found: {found}: {violation:?}");
    }
}

#[test]
fn a_seed_gives_one_run() {
    for seed in 0..10 {
        let (first, again) = (run(seed, None, true), run(seed, None, true));
        let difference = first.lines.iter().zip(&again.lines).find(|(a, b)| a != b);
        assert_eq!(first.fingerprint, again.fingerprint, "seed {seed}: {difference:?}");
    }
}

/// Asserts that the checker notices a planted bug within this many seeds, and names a promise that the bug breaks.
#[track_caller]
fn assert_caught(plant: Plant, promises: &[u8], within: u64) {
    assert_caught_by(plant, promises, within, "");
}

/// The same, and the violation must come from the check with this text.
#[track_caller]
fn assert_caught_by(plant: Plant, promises: &[u8], within: u64, check: &str) {
    let found = (0..within).find_map(|seed| Some((seed, run(seed, Some(plant), false).violation?)));
    let (seed, violation) = found.unwrap_or_else(|| panic!("{plant:?} went unnoticed for {within} seeds"));
    println!("{plant:?} is caught after {} seeds: {violation}", seed + 1);
    assert!(promises.contains(&violation.promise), "{plant:?} breaks {promises:?}, seed {seed} says {violation}");
    assert!(
        violation.what.contains(check),
        "{plant:?} is to be found by another check than seed {seed} says: {violation}"
    );
}

#[test]
fn acknowledging_before_the_commit_is_caught() {
    assert_caught(Plant::AcknowledgeEarly, &[2], 20);
}

#[test]
fn forgetting_the_reserved_block_is_caught() {
    assert_caught(Plant::ForgetReserve, &[1], 200);
}

#[test]
fn committing_what_was_withdrawn_is_caught() {
    assert_caught(Plant::IgnoreWithdrawal, &[5], 100);
}

#[test]
fn forgetting_what_was_given_out_when_a_job_leaves_memory_is_caught() {
    assert_caught_by(Plant::ForgetMark, &[1], 400, "takes effect at step");
}

#[test]
fn applying_a_conflicting_repeat_is_caught() {
    assert_caught(Plant::ApplyConflict, &[2], 50);
}

#[test]
fn a_decision_on_telemetry_newer_than_the_lag_is_caught() {
    assert_caught(Plant::ShorterLag, &[3], 50);
}

#[test]
fn losing_the_last_commit_is_caught() {
    assert_caught(Plant::LoseLastCommit, &[1, 2], 50);
}

#[test]
fn handing_out_a_provisional_rate_as_final_is_caught() {
    assert_caught(Plant::ProvisionalAsFinal, &[1, 3], 50);
}

#[test]
fn leaving_out_what_is_to_be_done_with_copies_is_caught() {
    assert_caught_by(Plant::ForgetActions, &[1, 3], 100, "Keep");
}

#[test]
fn going_back_to_a_copy_that_was_lost_is_caught() {
    assert_caught_by(Plant::SilentRestart, &[1], 200, "which it has not kept");
}

#[test]
fn showing_advice_before_it_is_stored_is_caught() {
    assert_caught_by(Plant::AdviseEarly, &[1, 3], 100, "stop_advice: Some");
}

#[test]
fn giving_advice_to_one_rank_alone_is_caught() {
    assert_caught_by(Plant::AdviseOne, &[1, 3], 200, "stop_advice: Some");
}

#[test]
fn a_commit_of_an_owner_that_was_replaced_is_caught() {
    assert_caught_by(Plant::CommitUnproven, &[1, 2], 100, "was replaced");
}

#[test]
fn going_on_with_old_memory_after_another_owner_is_caught() {
    assert_caught(Plant::KeepMemory, &[1, 2, 3], 200);
}

#[test]
fn calling_steps_final_past_the_lease_is_caught() {
    assert_caught_by(Plant::IgnoreLease, &[1], 100, "past its lease");
}

#[test]
fn not_noticing_that_the_database_went_back_is_caught() {
    assert_caught(Plant::MissLostTail, &[1, 2, 3], 200);
}

#[test]
fn removing_telemetry_before_its_time_is_caught() {
    assert_caught_by(Plant::RemoveEarly, &[2], 100, "within its time");
}

#[test]
fn reading_what_is_left_of_removed_telemetry_is_caught() {
    assert_caught_by(Plant::RemoveUnmarked, &[2], 200, "left out of what is read");
}
