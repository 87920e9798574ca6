//! The documents to the byte: the same record gives the same report, in every form.
//!
//! After a change that is meant: `LRS_UPDATE_DOCS=1 cargo test --test laws report::`, and read the difference.

use std::{fs, path::PathBuf};

use lrs::rpc::convert;
use lrs_audit::{Audit, JobFigures, Subject};
use lrs_model::{
    controller::Mode::Max,
    job::State,
    spec::Arm::{self, Baseline, Scheduled},
};
use lrs_proto::{AuditReport, json::Canonical};
use lrs_report as document;

use super::builders::Job;

/// A run of 200 steps whose loss falls to `last`, a little unevenly, with an accuracy every 10 steps.
fn run(id: &str, arm: Arm, seed: i64, last: f64) -> Job {
    let number = |step: u64| f64::from(u32::try_from(step).unwrap());
    let uneven = move |step: u64| 0.01 * f64::from(u32::try_from((step * 7 + seed.unsigned_abs()) % 13).unwrap());
    let loss = move |step: u64| last + (2.0 - last) / (1.0 + number(step) / 20.0) + uneven(step);
    Job::new(id, Some(arm), Some(seed))
        .objective("val_accuracy", Max, Some(0.6))
        .label("gpus", "8")
        .losses((0..200).map(|step| (step, loss(step))))
        .metric("val_accuracy", move |step| (step % 10 == 9).then(|| 1.0 - 0.5 * loss(step)))
}

fn jobs() -> Vec<JobFigures> {
    let mut jobs: Vec<JobFigures> = (0..3)
        .flat_map(|seed: i64| {
            let shift = f64::from(i32::try_from(seed).unwrap()) * 0.02;
            let scheduled = run(&format!("scheduled-{seed}"), Scheduled, seed, 0.2 + shift);
            let scheduled = scheduled.title("</script>*a* | <i>").cut(60).cut(120);
            [scheduled, run(&format!("baseline-{seed}"), Baseline, seed, 0.35)]
        })
        .map(Job::figures)
        .collect();
    let diverged = run("scheduled-3", Scheduled, 3, 0.2);
    let losses: Vec<(u64, f64)> =
        diverged.records.iter().map(|record| (record.step, if record.step < 150 { 1.0 } else { f64::NAN })).collect();
    jobs.push(diverged.losses(losses).state(State::Failed).figures());
    jobs.push(run("baseline-3", Baseline, 3, 0.3).state(State::Running).figures());
    jobs
}

/// An experiment of everything there is, and the report of one of its jobs.
fn reports() -> [(&'static str, AuditReport); 2] {
    let jobs = jobs();
    let experiment = Subject::Experiment { namespace: "test".to_owned(), experiment: "<digits> & more".to_owned() };
    let job = jobs.iter().find(|job| job.facts.row.name.job() == "scheduled-0").unwrap().clone();
    let alone = Subject::Job(job.facts.row.name.to_string());
    [
        ("experiment", convert::report::to_proto(&Audit::of(experiment, jobs))),
        ("job", convert::report::to_proto(&Audit::of(alone, vec![job]))),
    ]
}

/// Every document by the name of its file. Of a page, all but the drawing library.
fn documents() -> Vec<(String, String)> {
    let write = |(name, report): (&str, AuditReport)| {
        let page = document::html(&report);
        let (before, rest) = page.split_once("<script").unwrap();
        let (_, after) = rest.split_once("</script>").unwrap();
        let json = serde_json::to_string_pretty(&Canonical(&report)).unwrap();
        [
            (format!("{name}.json"), json + "\n"),
            (format!("{name}.md"), document::markdown(&report)),
            (format!("{name}.html"), format!("{before}{after}")),
        ]
    };
    reports().into_iter().flat_map(write).collect()
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/report").join(file)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test is told from outside that a change is meant")]
fn the_documents_are_these_bytes() {
    let is_update = std::env::var("LRS_UPDATE_DOCS").is_ok();
    let documents = documents();
    assert_eq!(documents.len(), 6);
    for (file, text) in documents {
        if is_update {
            fs::write(path(&file), &text).unwrap();
        }
        let golden = fs::read_to_string(path(&file)).unwrap();
        let line = golden.lines().zip(text.lines()).position(|(golden, found)| golden != found);
        assert!(golden == text, "{file} differs from line {:?} on", line.map(|line| line + 1));
    }
}

#[test]
fn a_report_that_was_written_as_json_gives_the_same_documents() {
    for (_, report) in reports() {
        let json = serde_json::to_string(&Canonical(&report)).unwrap();
        let read: AuditReport = serde_json::from_str(&json).unwrap();
        assert_eq!(document::markdown(&read), document::markdown(&report));
        assert_eq!(document::html(&read), document::html(&report));
    }
}
