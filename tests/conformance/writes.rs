//! Batches, repeats and decisions.

use std::{collections::BTreeMap, sync::Arc};

use lrs_model::{
    MAX_STEP,
    decision::{BaseRateChange, DecisionId, Effect, OverrideSetting, RateMove, RateOverride},
    name::JobId,
    telemetry::Sample,
};
use lrs_store::{Chunk, DecisionQuery, DecisionRow, Error, Outcome, StateRow, Store, Write};
use tokio::task::JoinSet;

use super::{
    builders::{append, attempt, chunk, controller, create, decision, done, job, person, record, started_job},
    database::TestDatabase,
};

const ALL: DecisionQuery = DecisionQuery { attempt: None, people_only: false, after: None, limit: 1000 };

/// All that is stored of a job.
async fn everything(store: &dyn Store, name: &str) -> String {
    let name = format!("namespaces/tests/jobs/{name}").parse().unwrap();
    let job = store.job(&name).await.unwrap().unwrap();
    let decisions = store.decisions(job.id, &ALL).await.unwrap();
    let decisions: Vec<_> = decisions.into_iter().map(|row| (row.decision, row.request_id)).collect();
    let attempts = store.attempts(job.id).await.unwrap();
    let telemetry = store.telemetry(job.id, 1, 0, 1000).await.unwrap();
    let state = store.state(job.id).await.unwrap();
    format!("{job:?} {attempts:?} {decisions:?} {telemetry:?} {state:?}")
}

pub async fn every_write_may_be_repeated(database: &TestDatabase) {
    let store = database.open().await;
    let (source, gone) = (job("source"), job("gone"));
    let mut updated = source.clone();
    updated.version = 2;
    let mut fork = job("fork");
    fork.version = 3;
    let batch = [
        create(&source),
        create(&gone),
        Write::StartAttempt(source.id, attempt(1)),
        Write::Reserve { job: source.id, attempt: 1, reserved_end: 2048 },
        append(&source, &chunk(0, 0, 0..10)),
        append(&source, &chunk(1, 0, 10..20)),
        append(&gone, &chunk(0, 0, 0..10)),
        Write::RecordDecision(source.id, Box::new(person(1, 5)), Some("r".into())),
        record(&source, &controller(7)),
        Write::SaveState(source.id, StateRow { attempt: 1, next_seq: 2, state: "{}".into() }),
        Write::UpdateJob(Box::new(updated)),
        Write::ForkJob { row: Box::new(fork), source: source.id, source_attempt: 1 },
        Write::DeleteJob(gone.id),
    ];

    done(&*store, &batch).await;
    let first = (everything(&*store, "source").await, everything(&*store, "fork").await);
    done(&*store, &batch).await;
    for write in &batch {
        done(&*store, std::slice::from_ref(write)).await;
    }

    let last = (everything(&*store, "source").await, everything(&*store, "fork").await);
    assert_eq!(first, last);
    assert!(first.0.contains("2048") && first.1.contains("it does not get better"));
}

pub async fn writes_for_a_job_that_is_gone_do_nothing(database: &TestDatabase) {
    let store = database.open().await;
    let gone = job("gone");
    let batch = [
        Write::UpdateJob(Box::new(gone.clone())),
        Write::StartAttempt(gone.id, attempt(1)),
        Write::Reserve { job: gone.id, attempt: 1, reserved_end: 1 },
        append(&gone, &chunk(0, 0, 0..3)),
        record(&gone, &person(1, 1)),
        Write::SaveState(gone.id, StateRow { attempt: 1, next_seq: 0, state: String::new() }),
        Write::DeleteJob(gone.id),
    ];

    done(&*store, &batch).await;

    assert!(store.job(&gone.name).await.unwrap().is_none());
    assert!(store.attempts(gone.id).await.unwrap().is_empty());
    assert!(store.telemetry(gone.id, 1, 0, 1).await.unwrap().is_empty());
}

pub async fn writes_after_a_taken_name_do_nothing(database: &TestDatabase) {
    let store = database.open().await;
    let (first, second) = (job("same"), job("same"));
    done(&*store, &[create(&first)]).await;

    let batch = [create(&second), Write::StartAttempt(second.id, attempt(1)), append(&second, &chunk(0, 0, 0..3))];
    let outcomes = store.commit(&batch).await.unwrap();

    assert!(matches!(outcomes[..], [Outcome::NameTaken(_), Outcome::Done, Outcome::Done]), "{outcomes:?}");
    assert!(store.attempts(second.id).await.unwrap().is_empty());
    assert_eq!(database.number("select count(*) from telemetry").await, 0);
}

pub async fn a_refused_batch_changes_nothing(database: &TestDatabase) {
    let store = database.open().await;
    let job = job("x");
    let mut same_token = attempt(2);
    same_token.token = attempt(1).token;
    let batch = [create(&job), Write::StartAttempt(job.id, attempt(1)), Write::StartAttempt(job.id, same_token)];

    let error = store.commit(&batch).await.unwrap_err();

    assert!(matches!(error, Error::Refused { .. }) && !error.is_transient(), "{error}");
    assert!(store.job(&job.name).await.unwrap().is_none());
    done(&*store, &batch[..2]).await;
}

pub async fn decisions_survive_with_every_bit(database: &TestDatabase) {
    let store = database.open().await;
    let job = started_job(&*store, "x").await;
    let override_by = |setting| Effect::Override(RateOverride { setting, end_step: Some(MAX_STEP) });
    let changes = [5e-324, -0.0, f64::MAX, 0.1 + 0.2].map(|base_lr| BaseRateChange {
        group: "größe".into(),
        previous_base_lr: 1e16,
        base_lr,
    });
    let effects = [
        Effect::BaseRates(RateMove { groups: changes.into(), ..RateMove::default() }),
        override_by(OverrideSetting::Fixed(BTreeMap::from([("größe".to_owned(), -0.0)]))),
        override_by(OverrideSetting::Factor(1e-300)),
        Effect::ClearOverride,
        Effect::Pause,
        Effect::Resume,
        Effect::Spec(Box::new(job.spec.clone())),
    ];
    let evidence =
        [("nan", f64::NAN), ("inf", f64::INFINITY), ("-inf", f64::NEG_INFINITY), ("-0", -0.0), ("tiny", 5e-324)];
    let mut decisions = Vec::new();
    for (seq, effect) in (1..).zip(effects) {
        let mut decision = person(seq, MAX_STEP);
        decision.effect = effect;
        decision.reason = "weil 🦀".into();
        decision.evidence = evidence.map(|(name, value)| (name.to_owned(), value)).into();
        decisions.push(decision);
    }
    let last = DecisionId::Controller { attempt: u32::MAX, step: MAX_STEP, controller: u32::MAX };
    decisions.push(decision(last, MAX_STEP));
    decisions.push(person(u64::MAX, 0));

    let writes: Vec<_> = decisions
        .iter()
        .map(|decision| Write::RecordDecision(job.id, Box::new(decision.clone()), Some("größe".into())))
        .collect();
    done(&*store, &writes).await;

    let rows = store.decisions(job.id, &ALL).await.unwrap();
    assert!(rows.iter().all(|row| row.request_id.as_deref() == Some("größe")));
    let read: Vec<_> = rows.into_iter().map(|row| row.decision).collect();
    assert_eq!(format!("{read:?}"), format!("{decisions:?}"));
}

pub async fn decisions_come_in_pages_in_the_order_they_were_recorded(database: &TestDatabase) {
    let store = database.open().await;
    let (job, other) = (started_job(&*store, "x").await, started_job(&*store, "other").await);
    for step in 0..10 {
        let mut by_person = person(100 - step, step);
        by_person.attempt = 2;
        done(&*store, &[record(&job, &by_person), record(&other, &by_person), record(&job, &controller(step))]).await;
    }
    let mut changed = controller(3);
    changed.reason = "another".into();
    done(&*store, &[record(&job, &changed)]).await;

    let all = store.decisions(job.id, &ALL).await.unwrap();
    assert_eq!(all.len(), 20);
    assert!(all.is_sorted_by(|a, b| a.position < b.position));
    assert_eq!(all[7].decision, controller(3), "the first record stays");

    let expect = |keep: &dyn Fn(&DecisionRow) -> bool| all.iter().filter(|row| keep(row)).cloned().collect::<Vec<_>>();
    let people = expect(&|row| matches!(row.decision.id, DecisionId::Person { .. }));
    let queries = [
        (DecisionQuery { limit: 3, ..ALL }, all.clone()),
        (DecisionQuery { limit: 4, people_only: true, ..ALL }, people.clone()),
        (DecisionQuery { limit: 7, attempt: Some(2), ..ALL }, people),
        (DecisionQuery { limit: 1, attempt: Some(1), ..ALL }, expect(&|row| row.decision.attempt == 1)),
        (DecisionQuery { limit: 1, attempt: Some(1), people_only: true, ..ALL }, Vec::new()),
    ];
    for (mut query, expected) in queries {
        let mut read = Vec::new();
        loop {
            let page = store.decisions(job.id, &query).await.unwrap();
            assert!(page.len() <= query.limit as usize);
            let Some(last) = page.last() else { break };
            query.after = Some(last.position);
            read.extend(page);
            assert!(read.len() <= expected.len(), "{query:?} comes to no end");
        }
        assert_eq!(read, expected, "{query:?}");
    }
}

pub async fn concurrent_writers_lose_nothing(database: &TestDatabase) {
    const WRITERS: u32 = 16;
    const COMMITS: u64 = 10;
    let store = database.open().await;
    let shared = started_job(&*store, "shared").await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, shared) = (Arc::clone(&store), shared.clone());
        writers.spawn(async move {
            let own = started_job(&*store, &format!("own-{writer}")).await;
            for commit in 0..COMMITS {
                let seq = u64::from(writer) * COMMITS + commit;
                let batch = [
                    append(&own, &chunk(commit, 0, [commit])),
                    append(&shared, &chunk(seq, writer, [commit])),
                    record(&shared, &person(seq + 1, commit)),
                ];
                done(&*store, &batch).await;
            }
            own.id
        });
    }
    let own: Vec<JobId> = writers.join_all().await;

    for job in own {
        assert_eq!(store.telemetry(job, 1, 0, 1000).await.unwrap().len(), 10);
    }
    let seqs: Vec<_> = store.telemetry(shared.id, 1, 0, 1000).await.unwrap().iter().map(|chunk| chunk.seq).collect();
    assert_eq!(seqs, (0..u64::from(WRITERS) * COMMITS).collect::<Vec<_>>());
    assert_eq!(store.decisions(shared.id, &ALL).await.unwrap().len(), seqs.len());
}

pub async fn numbers_beyond_the_highest_are_refused(database: &TestDatabase) {
    let store = database.open().await;
    let x = started_job(&*store, "x").await;
    let beyond = |samples: Vec<Sample>, seq, through_step| Chunk { attempt: 1, rank: 0, seq, through_step, samples };
    let mut version = x.clone();
    version.version = u64::MAX;
    let writes = [
        append(&x, &beyond(vec![], u64::MAX, None)),
        append(&x, &beyond(vec![], 0, Some(MAX_STEP + 1))),
        append(&x, &beyond(vec![Sample::new(MAX_STEP + 1)], 0, None)),
        append(&x, &beyond(vec![Sample::new(3), Sample::new(3)], 0, None)),
        Write::Reserve { job: x.id, attempt: 1, reserved_end: u64::MAX },
        Write::UpdateJob(Box::new(version)),
    ];
    for write in writes {
        let error = store.commit(std::slice::from_ref(&write)).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{write:?}: {error}");
    }
    assert_eq!(store.job(&x.name).await.unwrap(), Some(x));
}
