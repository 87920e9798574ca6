//! Jobs, attempts, forks and snapshots.

use std::collections::BTreeMap;

use lrs_model::{
    MAX_STEP,
    controller::Mode,
    decision::Decision,
    job::{AttemptRow, ForkPoint, JobRow, State, Timestamp},
    schedule::ScheduleSpec,
    spec::{Arm, Objective, RateLimits},
};
use lrs_store::{DecisionQuery, Outcome, StateRow, Write};

use super::{
    builders::{append, attempt, chunk, controller, create, done, job, person, record, started_job},
    database::TestDatabase,
};

const ALL: DecisionQuery = DecisionQuery { attempt: None, people_only: false, after: None, limit: 1000 };

fn odd_job() -> JobRow {
    let mut odd = job("größe-7.日本語");
    odd.initial_spec.groups[0].base_lr = 0.1 + 0.2;
    odd.initial_spec.schedule = ScheduleSpec::Product {
        factors: vec![
            ScheduleSpec::Constant(-0.0),
            ScheduleSpec::Constant(5e-324),
            ScheduleSpec::Constant(f64::MAX),
            ScheduleSpec::Constant(1e16),
            ScheduleSpec::Constant(f64::MIN_POSITIVE),
        ],
    };
    odd.spec = odd.initial_spec.clone();
    odd.spec.display_name = "Ein \"Name\" mit \\ und 🦀\n".into();
    odd.spec.total_steps = Some(MAX_STEP);
    odd.spec.experiment = "größe".into();
    odd.spec.arm = Some(Arm::Baseline);
    odd.spec.seed = Some(i64::MIN);
    odd.spec.labels =
        BTreeMap::from([("a.\"b\"".into(), "'; drop table jobs; --".into()), (String::new(), String::new())]);
    odd.spec.objective = Some(Objective { target: Some(-0.0), ..Objective::new("val loss", Mode::Max) });
    odd.spec.rate_limits = RateLimits { min_lr: Some(0.0), max_lr: None };
    odd.state = State::Cancelled;
    odd.state_reason = "weil".into();
    odd.state_author = "Zoë".into();
    odd.version = i64::MAX.cast_unsigned();
    odd.request_id = Some("r 1".into());
    odd.forked_from = Some(ForkPoint { job: "namespaces/x/jobs/y".into(), attempt: u32::MAX, step: MAX_STEP });
    odd.create_time = Timestamp(i64::MIN);
    odd.update_time = Timestamp(i64::MAX);
    odd.end_time = Some(Timestamp(-1));
    odd
}

fn text(job: &JobRow) -> String {
    // Debug tells -0.0 from 0.0, which == does not.
    format!("{job:?}")
}

pub async fn a_job_survives_with_every_bit(database: &TestDatabase) {
    let store = database.open().await;
    let odd = odd_job();

    done(&*store, &[create(&odd)]).await;

    let read = store.job(&odd.name).await.unwrap().unwrap();
    assert_eq!(text(&read), text(&odd));
    store.close().await;
    let read = database.open().await.job(&odd.name).await.unwrap().unwrap();
    assert_eq!(text(&read), text(&odd), "after opening again");
}

pub async fn a_job_that_is_not_there_is_none(database: &TestDatabase) {
    let store = database.open().await;
    let nobody = job("nobody");
    assert!(store.job(&nobody.name).await.unwrap().is_none());
    assert!(store.attempts(nobody.id).await.unwrap().is_empty());
    assert!(store.state(nobody.id).await.unwrap().is_none());
    assert!(store.telemetry(nobody.id, 1, 0, 10).await.unwrap().is_empty());
    assert!(store.decisions(nobody.id, &ALL).await.unwrap().is_empty());
    assert_eq!(store.next_telemetry_step(nobody.id, 1, 0).await.unwrap(), None);
}

pub async fn a_name_that_is_taken_is_answered_with_its_job(database: &TestDatabase) {
    let store = database.open().await;
    let (first, second) = (job("same"), job("same"));

    let outcomes = store.commit(&[create(&first), create(&second), create(&first)]).await.unwrap();

    assert_eq!(outcomes, [Outcome::Done, Outcome::NameTaken(Box::new(first.clone())), Outcome::Done]);
    assert_eq!(store.job(&first.name).await.unwrap(), Some(first));
}

pub async fn an_update_changes_all_that_may_change(database: &TestDatabase) {
    let store = database.open().await;
    let before = job("x");
    let mut after = odd_job();
    (after.id, after.name, after.create_time) = (before.id, before.name.clone(), before.create_time);
    after.initial_spec = before.initial_spec.clone();

    done(&*store, &[create(&before), Write::UpdateJob(Box::new(after.clone())), create(&before)]).await;

    assert_eq!(store.job(&before.name).await.unwrap(), Some(after));
}

pub async fn deleting_a_job_removes_all_that_belongs_to_it(database: &TestDatabase) {
    let store = database.open().await;
    let (gone, kept) = (started_job(&*store, "gone").await, started_job(&*store, "kept").await);
    for job in [&gone, &kept] {
        let state = StateRow { attempt: 1, next_seq: 1, state: "{}".into() };
        done(&*store, &[append(job, &chunk(0, 0, 0..3)), record(job, &person(1, 4)), Write::SaveState(job.id, state)])
            .await;
    }

    done(&*store, &[Write::DeleteJob(gone.id)]).await;

    assert!(store.job(&gone.name).await.unwrap().is_none());
    let rows = "select (select count(*) from jobs) + (select count(*) from attempts) + (select count(*) from decisions)
        + (select count(*) from telemetry) + (select count(*) from job_state)";
    assert_eq!(database.number(rows).await, 5);
    let mut again = job("gone");
    again.version = 2;
    done(&*store, &[create(&again)]).await;
    assert_eq!(store.job(&gone.name).await.unwrap(), Some(again));
}

pub async fn a_fork_has_the_history_of_its_source(database: &TestDatabase) {
    let store = database.open().await;
    let source = started_job(&*store, "source").await;
    let mut before_all = person(1, 0);
    before_all.attempt = 0;
    let mut later_attempt = person(4, 5);
    later_attempt.attempt = 3;
    // An order of an older attempt counts in the attempt forked, wherever it was to take effect.
    let (kept, learnt) = (person(2, 70), controller(40));
    let left_out = Decision { attempt: 2, ..person(3, 50) };
    let chunks = [chunk(0, 0, 0..40), chunk(1, 1, 0..30), chunk(2, 0, 40..45)];
    let mut of_third = chunk(0, 0, 0..3);
    of_third.attempt = 3;
    let mut writes = vec![Write::StartAttempt(source.id, attempt(2)), Write::StartAttempt(source.id, attempt(3))];
    // The fork decides on the same telemetry for itself, perhaps otherwise.
    let learnt_too_late = controller(50);
    let orders = [&before_all, &learnt, &kept, &left_out, &later_attempt, &learnt_too_late];
    writes.extend(orders.map(|decision| record(&source, decision)));
    writes.extend(chunks.iter().chain([&of_third]).map(|chunk| append(&source, chunk)));
    done(&*store, &writes).await;

    let mut fork = job("fork");
    fork.forked_from = Some(ForkPoint { job: source.name.to_string(), attempt: 2, step: 50 });
    let write = Write::ForkJob { row: Box::new(fork.clone()), source: source.id, source_attempt: 2 };
    done(&*store, &[write.clone(), write.clone()]).await;
    done(&*store, &[write]).await;

    assert_eq!(store.job(&fork.name).await.unwrap(), Some(fork.clone()));
    let theirs = |number| {
        let attempt = attempt(number);
        AttemptRow { token: format!("of the job forked: {}", attempt.token), ..attempt }
    };
    assert_eq!(store.attempts(fork.id).await.unwrap(), [theirs(1), theirs(2)]);
    assert_eq!(store.telemetry(fork.id, 1, 0, 10).await.unwrap(), chunks);
    assert!(store.telemetry(fork.id, 3, 0, 10).await.unwrap().is_empty());
    let decisions = store.decisions(fork.id, &ALL).await.unwrap();
    let copied: Vec<_> = decisions.into_iter().map(|row| row.decision).collect();
    assert_eq!(copied, [before_all, learnt, kept]);
    assert_eq!(store.decisions(source.id, &ALL).await.unwrap().len(), 6, "the source keeps its own");
    let mut namesake = job("fork");
    namesake.version = 9;
    let write = Write::ForkJob { row: Box::new(namesake.clone()), source: source.id, source_attempt: 2 };
    assert_eq!(store.commit(&[write]).await.unwrap(), [Outcome::NameTaken(Box::new(fork))]);
    assert!(store.attempts(namesake.id).await.unwrap().is_empty());
}

pub async fn a_fork_of_a_job_that_is_gone_is_not_made(database: &TestDatabase) {
    let store = database.open().await;
    let (source, mut fork) = (job("source"), job("fork"));
    fork.forked_from = Some(ForkPoint { job: source.name.to_string(), attempt: 1, step: 50 });
    let write = Write::ForkJob { row: Box::new(fork.clone()), source: source.id, source_attempt: 1 };

    let batch = [write, record(&fork, &person(1, 50))];
    assert_eq!(store.commit(&batch).await.unwrap(), [Outcome::SourceGone, Outcome::Done]);

    assert_eq!(store.job(&fork.name).await.unwrap(), None);
}

pub async fn attempts_come_first_to_newest(database: &TestDatabase) {
    let store = database.open().await;
    let job = job("x");
    let extreme = AttemptRow {
        attempt: u32::MAX,
        token: "größe".into(),
        resume_step: MAX_STEP,
        parent_attempt: u32::MAX - 1,
        reporting_ranks: Some(u32::MAX),
        reserved_end: MAX_STEP + 1,
        create_time: Timestamp(i64::MAX),
    };
    let numbers = [2, 10, 1];
    let mut writes = vec![create(&job), Write::StartAttempt(job.id, extreme.clone())];
    writes.extend(numbers.map(|number| Write::StartAttempt(job.id, attempt(number))));
    writes.push(Write::Reserve { job: job.id, attempt: 2, reserved_end: MAX_STEP });

    done(&*store, &writes).await;

    let second = AttemptRow { reserved_end: MAX_STEP, ..attempt(2) };
    assert_eq!(store.attempts(job.id).await.unwrap(), [attempt(1), second, attempt(10), extreme]);
}

pub async fn the_snapshot_is_the_last_one_saved(database: &TestDatabase) {
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    let first = StateRow { attempt: 1, next_seq: 3, state: "{\"b\": 1,  \"a\": -0.0}".into() };
    let second = StateRow { attempt: u32::MAX, next_seq: i64::MAX.cast_unsigned(), state: "🦀".repeat(100_000) };

    done(&*store, &[Write::SaveState(job.id, first.clone())]).await;
    assert_eq!(store.state(job.id).await.unwrap(), Some(first));
    done(&*store, &[Write::SaveState(job.id, second.clone())]).await;

    assert_eq!(store.state(job.id).await.unwrap(), Some(second));
}
