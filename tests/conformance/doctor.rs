//! The doctor: silent about what the engine wrote, and not about damage of any kind.

use std::{collections::BTreeSet, sync::Arc};

use lrs_control::plateau;
use lrs_engine::{
    Change, Engine, NewJob, Order, Settings,
    doctor::{self, Ailment, Diagnosis},
};
use lrs_model::{
    job::State,
    name::JobName,
    spec::{Group, Spec},
    telemetry::{Report, Sample},
};
use lrs_runtime::clock::SystemClock;
use lrs_store::Damage;

use super::database::TestDatabase;

/// How the engine keeps its books here: a snapshot now and then.
pub fn settings() -> Settings {
    Settings { snapshot_after_records: 16, ..Settings::default() }
}

pub async fn engine(database: &TestDatabase, settings: Settings) -> Engine {
    let engine = Engine::start(settings, database.open().await, Arc::new(SystemClock));
    engine.recovered().await.unwrap();
    engine
}

fn name(id: &str) -> JobName {
    format!("namespaces/tests/jobs/{id}").parse().unwrap()
}

/// One that decides every few steps, on a loss that stands still, or one without controllers.
fn spec(decides: bool) -> Spec {
    let plateau = plateau::Params { factor: 0.9, patience: 2, ..plateau::Params::default() };
    let group =
        Group { name: "default".into(), base_lr: 1.0, base_momentum: None, base_weight_decay: None, schedule: None };
    let controllers = if decides { vec![plateau.into()] } else { Vec::new() };
    Spec { groups: vec![group], controllers, ..Spec::default() }
}

/// Registers a job and trains its attempts, each of the steps `start..end`, in reports of four steps.
pub async fn train(engine: &Engine, id: &str, decides: bool, attempts: &[(u64, u64)]) -> JobName {
    let job = NewJob { name: name(id), spec: spec(decides), order: Order::default() };
    engine.create_job(job).await.unwrap();
    for (start, end) in attempts {
        engine.start_attempt(&name(id), format!("from {start}"), *start, None).await.unwrap();
        report(engine, &name(id), *start, *end).await;
    }
    name(id)
}

/// Reports steps to the newest attempt, and waits until they are durable.
pub async fn report(engine: &Engine, job: &JobName, start: u64, end: u64) {
    let reporter = engine.reporter(job, 0, 0).await.unwrap();
    let mut step = start;
    while step < end {
        let next = end.min(step + 4);
        let samples = (step..next).map(|step| Sample { loss: Some(1.0), ..Sample::new(step) }).collect();
        let report = Report { samples, through_step: Some(next - 1) };
        reporter.report(report).await.unwrap().receipt().await.unwrap();
        step = next;
    }
}

async fn pause_and_resume(engine: &Engine, job: &JobName) {
    for change in [Change::Pause, Change::Resume] {
        let order = Order { author: "Ada".into(), ..Order::default() };
        engine.change_job(job, change, order).await.unwrap();
    }
}

pub async fn examine(database: &TestDatabase) -> Diagnosis {
    let inspection = database.url.inspect().await.unwrap();
    let diagnosis = doctor::examine(&*inspection).await.unwrap();
    inspection.close().await;
    diagnosis
}

fn found(diagnosis: &Diagnosis) -> BTreeSet<(String, Ailment)> {
    let job = |job: &Option<String>| job.as_deref().map_or("", |job| job.rsplit('/').next().unwrap()).to_owned();
    diagnosis.findings.iter().map(|finding| (job(&finding.job), finding.ailment)).collect()
}

pub async fn a_sound_database_has_nothing_to_find(database: &TestDatabase) {
    let engine = engine(database, Settings { merge_after_chunks: 4, ..settings() }).await;
    let rewound = train(&engine, "rewound", true, &[(0, 43), (20, 33), (33, 50), (10, 30)]).await;
    pause_and_resume(&engine, &rewound).await;
    report(&engine, &rewound, 30, 60).await;
    let ended = train(&engine, "ended", true, &[(0, 30)]).await;
    engine.complete_job(&ended, State::Completed, Order::default()).await.unwrap();
    let fork = lrs_engine::Fork { source: rewound, name: name("fork"), step: 25, spec: None, order: Order::default() };
    engine.fork_job(fork).await.unwrap();
    engine.start_attempt(&name("fork"), "t".into(), 25, None).await.unwrap();
    report(&engine, &name("fork"), 25, 60).await;
    train(&engine, "silent", false, &[]).await;
    engine.shutdown().await;

    let diagnosis = examine(database).await;

    assert_eq!(diagnosis.findings, [], "{diagnosis:?}");
    assert_eq!((diagnosis.counts.jobs, diagnosis.counts.attempts), (4, 4 + 1 + 5));
    assert!(diagnosis.counts.recomputed_decisions > 30 && diagnosis.counts.samples > 200, "{:?}", diagnosis.counts);
}

pub async fn a_busy_database_has_nothing_to_find(database: &TestDatabase) {
    let engine = engine(database, Settings { merge_after_chunks: 4, ..settings() }).await;
    let job = train(&engine, "busy", true, &[(0, 8)]).await;
    let training = async {
        for start in (8..400).step_by(8) {
            report(&engine, &job, start, start + 8).await;
        }
    };
    let examining = async {
        let mut samples = Vec::new();
        for _ in 0..5 {
            let diagnosis = examine(database).await;
            assert_eq!(diagnosis.findings, []);
            samples.push(diagnosis.counts.samples);
        }
        samples
    };
    let ((), samples) = tokio::join!(training, examining);
    assert!(samples.is_sorted(), "{samples:?}");
    engine.shutdown().await;
    assert_eq!(examine(database).await.counts.samples, 400);
}

/// Jobs to be damaged, and one that is not.
async fn train_patients(database: &TestDatabase) {
    let engine = engine(database, settings()).await;
    let plain = [
        "no-job",
        "bad-spec",
        "bad-chunk",
        "bad-snapshot",
        "lost-chunk",
        "lost-tail",
        "early",
        "span",
        "twice",
        "deposed-chunk",
        "future-chunk",
    ];
    let deciding = ["changed", "unrecorded", "invented", "bad-decision", "untaken", "state-only", "deposed-decision"];
    for id in plain {
        train(&engine, id, false, &[(0, 40)]).await;
    }
    for id in deciding {
        train(&engine, id, true, &[(0, 40)]).await;
    }
    train(&engine, "lost-attempt", false, &[(0, 20), (8, 20)]).await;
    train(&engine, "deposed-attempt", false, &[(0, 20), (8, 20)]).await;
    train(&engine, "attempt-given-twice", false, &[(0, 20), (8, 20)]).await;
    train(&engine, "stray-attempt", false, &[(0, 20)]).await;
    let lost_order = train(&engine, "lost-order", false, &[(0, 8)]).await;
    pause_and_resume(&engine, &lost_order).await;
    train(&engine, "not-ended", false, &[(0, 8)]).await;
    train(&engine, "sound", true, &[(0, 40)]).await;
    engine.shutdown().await;
}

/// A damage of each kind to a job of its own, `no-job` being the identity of one that goes, and what must be found of
/// which.
fn damages<'a>(damage: &Damage, identity: &'a str) -> Vec<(String, &'a str, Ailment)> {
    let of = |id: &str| format!("job_id = (select id from jobs where name = 'namespaces/tests/jobs/{id}')");
    let named = |id: &str| format!("name = 'namespaces/tests/jobs/{id}'");
    let (steps, unguarded) = (damage.wrong_steps, damage.without_foreign_keys);
    vec![
        (format!("{unguarded}; delete from jobs where {}", named("no-job")), identity, Ailment::Orphan),
        ("drop index telemetry_by_step".into(), "", Ailment::Index),
        (
            format!("update jobs set spec = '{{\"groups\": 7}}' where {}", named("bad-spec")),
            "bad-spec",
            Ailment::Unreadable,
        ),
        (
            format!("update telemetry set steps = {steps} where seq = 4 and {}", of("bad-chunk")),
            "bad-chunk",
            Ailment::Unreadable,
        ),
        (
            format!("update job_state set state = '{{' where {}", of("bad-snapshot")),
            "bad-snapshot",
            Ailment::Unreadable,
        ),
        (
            format!("update decisions set effect = '\"dance\"' where step = 12 and {}", of("bad-decision")),
            "bad-decision",
            Ailment::Unreadable,
        ),
        (format!("update telemetry set last_step = 999 where seq = 2 and {}", of("span")), "span", Ailment::Unreadable),
        (format!("delete from telemetry where seq = 4 and {}", of("lost-chunk")), "lost-chunk", Ailment::Gap),
        (format!("delete from telemetry where seq > 7 and {}", of("lost-tail")), "lost-tail", Ailment::Gap),
        (format!("delete from decisions where id = 'p1' and {}", of("lost-order")), "lost-order", Ailment::Gap),
        (
            format!("{unguarded}; delete from attempts where attempt = 1 and {}", of("lost-attempt")),
            "lost-attempt",
            Ailment::Gap,
        ),
        (
            format!("delete from job_state where {0}; update telemetry set attempt = 3 where {0}", of("stray-attempt")),
            "stray-attempt",
            Ailment::Orphan,
        ),
        (
            format!(
                "delete from job_state where {0}; update telemetry set through_step = 20 where seq = 1 and {0}",
                of("early")
            ),
            "early",
            Ailment::Overlap,
        ),
        // The same piece of telemetry once more, in the place of another.
        (
            format!(
                "delete from job_state where {0}; delete from telemetry where seq = 9 and {0};
                 create table piece as select * from telemetry where seq = 3 and {0}; update piece set seq = 9;
                 insert into telemetry select * from piece; drop table piece",
                of("twice")
            ),
            "twice",
            Ailment::Overlap,
        ),
        (
            format!("update decisions set effective_step = effective_step + 1 where step = 12 and {}", of("changed")),
            "changed",
            Ailment::Decision,
        ),
        (format!("delete from decisions where step = 12 and {}", of("unrecorded")), "unrecorded", Ailment::Decision),
        (
            format!("update decisions set id = 'a1-s13-c0', step = 13 where step = 12 and {}", of("invented")),
            "invented",
            Ailment::Decision,
        ),
        (
            format!("delete from job_state where {0}; delete from telemetry where seq > 7 and {0}", of("untaken")),
            "untaken",
            Ailment::Gap,
        ),
        (
            format!(
                "update job_state set state = replace(state, '\"complete_end\":40', '\"complete_end\":39') where {}",
                of("state-only")
            ),
            "state-only",
            Ailment::Snapshot,
        ),
        (format!("update jobs set state = 'COMPLETED' where {}", named("not-ended")), "not-ended", Ailment::Job),
    ]
}

/// What a server would leave that goes on with its old memory after another one has been there.
fn damages_to_the_ownership() -> Vec<(String, &'static str, Ailment)> {
    let of = |id: &str| format!("job_id = (select id from jobs where name = 'namespaces/tests/jobs/{id}')");
    vec![
        (
            format!("update telemetry set epoch = 0 where seq = 5 and {}", of("deposed-chunk")),
            "deposed-chunk",
            Ailment::Owner,
        ),
        (
            format!("update telemetry set epoch = 99 where seq = 5 and {}", of("future-chunk")),
            "future-chunk",
            Ailment::Owner,
        ),
        (
            format!("update decisions set epoch = 0 where step = 12 and {}", of("deposed-decision")),
            "deposed-decision",
            Ailment::Owner,
        ),
        (
            format!("update attempts set epoch = 0 where attempt = 2 and {}", of("deposed-attempt")),
            "deposed-attempt",
            Ailment::Owner,
        ),
        // The next server has given out the number of an attempt whose telemetry is of the server before.
        (
            format!("update attempts set epoch = 2 where attempt = 2 and {}", of("attempt-given-twice")),
            "attempt-given-twice",
            Ailment::Owner,
        ),
        (
            "insert into ownership
                select 0, sequence, process, host, pid, acquire_time, acquire_sequence from ownership"
                .into(),
            "",
            Ailment::Owner,
        ),
    ]
}

async fn identity(database: &TestDatabase, id: &str) -> String {
    let store = database.open().await;
    let job = store.job(&name(id)).await.unwrap().unwrap();
    store.close().await;
    job.id.to_string()
}

pub async fn damage_of_every_kind_is_found(database: &TestDatabase) {
    train_patients(database).await;
    assert_eq!(examine(database).await.findings, []);
    let identity = identity(database, "no-job").await;
    let mut damages = damages(&database.url.kind().damage, &identity);
    damages.extend(damages_to_the_ownership());
    for (sql, ..) in &damages {
        database.tamper(sql).await;
    }

    let diagnosis = examine(database).await;

    let found = found(&diagnosis);
    let expected: BTreeSet<(String, Ailment)> =
        damages.iter().map(|(_, job, ailment)| ((*job).to_owned(), *ailment)).collect();
    let missed: Vec<_> = expected.difference(&found).collect();
    assert!(missed.is_empty(), "not found: {missed:?} in {:#?}", diagnosis.findings);
    // What one damage brings with it; a sound job and the database as a whole have nothing else.
    let patients: BTreeSet<&str> = expected.iter().map(|(job, _)| job.as_str()).collect();
    assert!(found.iter().all(|(job, _)| patients.contains(job.as_str())), "{:#?}", diagnosis.findings);
    assert!(!patients.contains("sound"));
    let places: Vec<_> = found.difference(&expected).collect();
    assert!(places.len() <= 6, "one damage is told as many: {places:?}");
}

/// As when a process ends after a person's decision is durable and before those are that waited for it.
pub async fn a_decision_that_was_not_stored_in_time_is_stored_when_its_job_is_read(database: &TestDatabase) {
    let first = engine(database, settings()).await;
    train(&first, "x", true, &[(0, 40)]).await;
    first.shutdown().await;
    database.tamper("delete from job_state; delete from decisions where step = 12").await;
    let before = examine(database).await;
    assert_eq!((before.findings.len(), before.counts.unrecorded_decisions), (0, 1), "{before:?}");

    let second = engine(database, settings()).await;
    second.job(&name("x")).await.unwrap();
    second.shutdown().await;

    let after = examine(database).await;
    assert_eq!((after.findings.len(), after.counts.unrecorded_decisions), (0, 0), "{after:?}");
    assert_eq!(after.counts.decisions, before.counts.decisions + 1);
}

/// Only some databases find damage in their own files.
pub async fn a_damaged_file_is_found(database: &TestDatabase) {
    let engine = engine(database, settings()).await;
    train(&engine, "x", true, &[(0, 40)]).await;
    engine.shutdown().await;
    let Some(damage) = database.url.kind().damage.in_file else {
        assert_eq!(examine(database).await.findings, []);
        return;
    };
    database.tamper(damage).await;

    let diagnosis = examine(database).await;

    assert!(found(&diagnosis).contains(&(String::new(), Ailment::File)), "{diagnosis:?}");
}
