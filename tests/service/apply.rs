//! `lrs job apply` and `ApplyJobs`: every job of a file is made what the file says, or none.

use std::process::Output;

use lrs_proto::{
    AppliedJob, ApplyJobsRequest, GetJobRequest, Job, JobSpec, ListDecisionsRequest, ListJobsRequest,
    applied_job::Outcome,
};
use tonic::Code;

use crate::postgres::TestPostgres;
use crate::program::{client_of, succeeds, texts};
use crate::server::{Server, spec};

fn lrs(server: &Server, command: &str, jobs: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.yaml");
    std::fs::write(&file, jobs).unwrap();
    client_of(server).args(["job", command, "-f"]).arg(&file).output().unwrap()
}

fn document(job: &str, total_steps: &str) -> String {
    format!("---\nname: test/{job}\nspec: {{groups: [{{base_lr: 0.1}}], total_steps: {total_steps}}}\n")
}

fn wanted(job: &str, spec: JobSpec) -> Job {
    Job { name: format!("namespaces/test/jobs/{job}"), spec: Some(spec), ..Job::default() }
}

fn long(total_steps: i64) -> JobSpec {
    JobSpec { total_steps: Some(total_steps), ..spec(0.1) }
}

fn request(jobs: Vec<Job>) -> ApplyJobsRequest {
    ApplyJobsRequest { parent: "namespaces/test".to_owned(), jobs, ..ApplyJobsRequest::default() }
}

fn outcomes(applied: &[AppliedJob]) -> Vec<Outcome> {
    applied.iter().map(AppliedJob::outcome).collect()
}

/// The jobs and their lengths, in the order of their names.
async fn lengths(server: &Server) -> Vec<(String, Option<i64>)> {
    let request = ListJobsRequest { parent: "namespaces/test".to_owned(), page_size: 1000, ..Default::default() };
    let jobs = server.jobs().await.list_jobs(request).await.unwrap().into_inner().jobs;
    let job = |job: Job| (job.name.rsplit('/').next().unwrap().to_owned(), job.spec.unwrap().total_steps);
    jobs.into_iter().map(job).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_applied_and_a_repeat_leaves_everything_alone() {
    let server = Server::sqlite().await;
    let file = |of_b: &str| document("a", "100") + &document("b", of_b);

    let out = succeeds(&lrs(&server, "apply", &file("200")));
    assert!(out.starts_with("2 registered, 0 changed, 0 left alone."), "{out}");
    let out = succeeds(&lrs(&server, "apply", &file("200")));
    assert!(out.starts_with("0 registered, 0 changed, 2 left alone."), "{out}");

    let attempt = server.start_attempt("namespaces/test/jobs/b", "t", 0).await;
    server.final_rate("namespaces/test/jobs/b", attempt, 3).await;
    let out = succeeds(&lrs(&server, "apply", &(file("300") + &document("c", "5"))));
    assert!(out.starts_with("1 registered, 1 changed, 1 left alone."), "{out}");
    let length = |job: &str, steps| (job.to_owned(), Some(steps));
    assert_eq!(lengths(&server).await, [length("a", 100), length("b", 300), length("c", 5)]);
    let request = ListDecisionsRequest { job: "namespaces/test/jobs/b".to_owned(), ..Default::default() };
    let decisions = server.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions;
    assert!(decisions.len() == 1 && decisions[0].effective_step > 3, "{decisions:?}");
    // The job goes on: what the change froze is given out again.
    assert!(server.final_rate("namespaces/test/jobs/b", attempt, 10).await.is_finite());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_job_and_none_is_changed() {
    let server = Server::sqlite().await;
    succeeds(&lrs(&server, "apply", &(document("a", "100") + &document("ended", "100"))));
    succeeds(&client_of(&server).args(["job", "complete", "test/ended"]).output().unwrap());
    let before = lengths(&server).await;

    for (last, problem) in [
        (document("c", "-1"), "namespaces/test/jobs/c: spec.total_steps"),
        (document("ended", "200"), "has ended"),
        (document("new", "300"), "is named twice"),
        (document("a b", "300"), "a b"),
        ("---\nname: test/c\nspec: {groups: [{base_lr: 0.1}], tier: 9}\n".to_owned(), "tier"),
    ] {
        let file = document("new", "10") + &document("a", "200") + &last;
        let output = lrs(&server, "apply", &file);
        let (out, err) = texts(&output);
        assert!(!output.status.success() && err.contains(problem), "{last}: {out}\n{err}");
        assert_eq!(lengths(&server).await, before, "{last}");
    }
    // What cannot change in a job that is there.
    let file = document("new", "10") + "---\nname: test/a\nspec: {groups: [{base_lr: 0.1}], total_steps: 9, tier: 2}\n";
    let (_, err) = texts(&lrs(&server, "apply", &file));
    assert!(err.contains("namespaces/test/jobs/a: spec.tier"), "{err}");
    assert_eq!(lengths(&server).await, before);
    // An ended job that the file describes as it is.
    let out = succeeds(&lrs(&server, "apply", &document("ended", "100")));
    assert!(out.starts_with("0 registered, 0 changed, 1 left alone."), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_a_file_again_is_no_error_and_changes_nothing() {
    let server = Server::sqlite().await;
    let file = document("a", "100") + &document("b", "200");
    succeeds(&lrs(&server, "register", &file));
    let out = succeeds(&lrs(&server, "register", &file));
    assert!(out.contains("2 left alone"), "{out}");
    let out = succeeds(&lrs(&server, "register", &document("a", "100")));
    assert!(out.contains("registered already"), "{out}");

    let output = lrs(&server, "register", &(document("new", "1") + &document("a", "300")));
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(err.contains("total_steps") && err.contains("lrs job apply"), "{err}");
    assert_eq!(lengths(&server).await.len(), 2);

    let same = server.try_register("a", long(100)).await.unwrap();
    assert_eq!(same.name, "namespaces/test/jobs/a");
    assert_eq!(server.try_register("a", long(101)).await.unwrap_err().code(), Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_took_from_another_when_it_was_registered_is_kept_by_a_repeat() {
    let server = Server::sqlite().await;
    server.register("study", spec(0.25)).await;
    let file = "name: test/a\nspec: {groups: [{}], base_lr_from: {study_trial: namespaces/test/jobs/study}}\n";
    succeeds(&lrs(&server, "apply", file));
    let out = succeeds(&lrs(&server, "apply", file));
    assert!(out.contains("1 left alone"), "{out}");
    let out = succeeds(&lrs(&server, "register", file));
    assert!(out.contains("registered already"), "{out}");
    let request = GetJobRequest { name: "namespaces/test/jobs/a".to_owned() };
    let job = server.jobs().await.get_job(request).await.unwrap().into_inner();
    assert_eq!(job.spec.unwrap().groups[0].base_lr.to_bits(), 0.25_f64.to_bits());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_left_alone_by_a_repeat() {
    let server = Server::sqlite().await;
    for example in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = example.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let jobs = std::fs::read_to_string(&path).unwrap();
            succeeds(&lrs(&server, "apply", &jobs));
            let out = succeeds(&lrs(&server, "apply", &jobs));
            assert!(out.contains("0 registered, 0 changed"), "{}: {out}", path.display());
        }
    }
}

async fn a_thousand_jobs_at_once(server: Server) {
    let mut jobs = server.jobs().await;
    let all = |steps| (0..1000).map(|i| wanted(&format!("j{i:04}"), long(steps))).collect::<Vec<_>>();
    let applied = jobs.apply_jobs(request(all(10))).await.unwrap().into_inner().jobs;
    assert!(outcomes(&applied).iter().all(|outcome| *outcome == Outcome::Created));
    let name = |applied: &AppliedJob| applied.job.clone().unwrap().name;
    assert_eq!((name(&applied[0]), applied.len()), ("namespaces/test/jobs/j0000".to_owned(), 1000));
    let applied = jobs.apply_jobs(request(all(20))).await.unwrap().into_inner().jobs;
    assert!(outcomes(&applied).iter().all(|outcome| *outcome == Outcome::Updated));
    assert!(lengths(&server).await.iter().all(|(_, steps)| *steps == Some(20)));
    let mut too_many = all(20);
    too_many.push(wanted("more", long(1)));
    assert_eq!(jobs.apply_jobs(request(too_many)).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_jobs_are_applied_at_once_on_sqlite() {
    a_thousand_jobs_at_once(Server::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_jobs_are_applied_at_once_on_postgres() {
    let postgres = TestPostgres::shared();
    a_thousand_jobs_at_once(Server::with(&postgres.create_database().await, &[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_applies_at_the_same_time_every_name_is_one_job() {
    let server = Server::sqlite().await;
    let all = |steps| (0..20).map(|i| wanted(&format!("j{i}"), long(steps))).collect::<Vec<_>>();
    let one_of = async |steps| {
        let mut jobs = server.jobs().await;
        jobs.apply_jobs(request(all(steps))).await.map(|answer| outcomes(&answer.into_inner().jobs))
    };
    let register = async |job: usize| server.try_register(&format!("j{job}"), long(7)).await;
    let (a, b, c, d) = tokio::join!(one_of(1), one_of(2), one_of(3), register(13));
    let answers = [a.unwrap(), b.unwrap(), c.unwrap()];
    let created = answers.iter().flatten().filter(|outcome| **outcome == Outcome::Created).count();
    assert_eq!(created + usize::from(d.is_ok()), 20, "{answers:?}");
    let lengths = lengths(&server).await;
    assert_eq!(lengths.len(), 20);
    // The last one changed all of them, so they are all the same.
    assert!(lengths.iter().all(|(_, steps)| *steps == lengths[0].1), "{lengths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_changes_nothing_and_says_what_the_first_did() {
    let server = Server::sqlite().await;
    let mut jobs = server.jobs().await;
    server.register("b", long(1)).await;
    let first = || ApplyJobsRequest {
        request_id: "once".to_owned(),
        ..request(vec![wanted("a", long(10)), wanted("b", long(20))])
    };
    let done = [Outcome::Created, Outcome::Updated];
    assert_eq!(outcomes(&jobs.apply_jobs(first()).await.unwrap().into_inner().jobs), done);
    jobs.apply_jobs(request(vec![wanted("a", long(30)), wanted("b", long(30))])).await.unwrap();
    assert_eq!(outcomes(&jobs.apply_jobs(first()).await.unwrap().into_inner().jobs), done);
    assert!(lengths(&server).await.iter().all(|(_, steps)| *steps == Some(30)));
    let other = ApplyJobsRequest { jobs: vec![wanted("b", long(40))], ..first() };
    assert_eq!(jobs.apply_jobs(other).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_applies_too_and_an_etag_and_the_parent_are_heeded() {
    let server = Server::sqlite().await;
    let body = r#"{"jobs": [{"name": "namespaces/test/jobs/a", "spec": {"groups": [{"base_lr": 0.1}], "controller": "auto"}}]}"#;
    for outcome in ["OUTCOME_CREATED", "OUTCOME_UNCHANGED"] {
        let (status, answer) = server.http_request("POST", "/v1/namespaces/test/jobs:apply", body).await;
        assert!(status == 200 && answer.contains(outcome), "{status} {answer}");
    }
    let (status, answer) = server.http_request("POST", "/v1/namespaces/-/jobs:apply", body).await;
    assert!(status == 200 && answer.contains("OUTCOME_UNCHANGED"), "{status} {answer}");
    let (status, answer) = server.http_request("POST", "/v1/namespaces/other/jobs:apply", body).await;
    assert!(status == 400 && answer.contains("jobs[0].name"), "{status} {answer}");
    let stale = body.replace(r#""spec""#, r#""etag": "v0", "spec""#).replace("0.1", "0.2");
    let (status, answer) = server.http_request("POST", "/v1/namespaces/test/jobs:apply", &stale).await;
    assert!(status == 409 && answer.contains("ETAG_MISMATCH"), "{status} {answer}");
    let dry = body.replace(r#"{"jobs""#, r#"{"validate_only": true, "jobs""#).replace("jobs/a", "jobs/b");
    let (status, answer) = server.http_request("POST", "/v1/namespaces/test/jobs:apply", &dry).await;
    assert!(status == 200 && answer.contains("OUTCOME_CREATED"), "{status} {answer}");
    assert_eq!(lengths(&server).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_names_a_job_that_is_there_as_it_is() {
    let server = Server::sqlite().await;
    let with_etag = |etag: &str| Job { etag: etag.to_owned(), ..wanted("a", long(10)) };
    let apply = async |job: Job| server.jobs().await.apply_jobs(request(vec![job])).await;

    let status = apply(with_etag("\"zzz\"")).await.unwrap_err();
    assert!(status.code() == Code::InvalidArgument && status.message().contains("jobs[0].etag"), "{status:?}");
    assert_eq!(lengths(&server).await, []);

    let applied = apply(wanted("a", long(10))).await.unwrap().into_inner().jobs;
    let etag = applied[0].job.as_ref().unwrap().etag.clone();
    assert_eq!(apply(with_etag("\"zzz\"")).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(outcomes(&apply(with_etag(&etag)).await.unwrap().into_inner().jobs), [Outcome::Unchanged]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_alone_writes_cannot_be_applied() {
    let server = Server::sqlite().await;
    let file = |more: &str| format!("name: test/a\n{more}\nspec: {{groups: [{{base_lr: 0.1}}], total_steps: 10}}\n");
    for command in ["apply", "register"] {
        let (out, err) = texts(&lrs(&server, command, &file("state: completed")));
        assert!(err.contains("state") && err.contains("new job"), "{out}{err}");
    }
    succeeds(&lrs(&server, "register", &file("")));
    for command in ["apply", "register"] {
        let (out, err) = texts(&lrs(&server, command, &file("state: completed")));
        assert!(err.contains("state") && err.contains("pause, resume and complete"), "{out}{err}");
    }
    // The whole job as it was read.
    let read = client_of(&server).args(["job", "get", "test/a", "--json"]).output().unwrap();
    let out = succeeds(&lrs(&server, "apply", &succeeds(&read)));
    assert!(out.contains("1 left alone"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_that_is_written_out_is_no_other_spec() {
    let server = Server::sqlite().await;
    for (i, (short, long)) in [
        ("schedule: {step: {step_size: 5}}", "schedule: {step: {step_size: 5, gamma: 0.1}}"),
        ("schedule: {cosine: {}}", "schedule: {cosine: {floor: {min_lr: 0}}}"),
        (
            "schedule: {library: torch, scheduler: StepLR, params: {step_size: 5}}",
            "schedule: {library: torch, scheduler: StepLR, params: {step_size: '5', gamma: 0.1}}",
        ),
        (
            "controllers: {library: torch, scheduler: ReduceLROnPlateau}",
            "controllers: {library: torch, scheduler: ReduceLROnPlateau, params: {min_lr: 0, factor: 0.1}}",
        ),
        ("schedule: constant", "schedule: {base: 1}"),
    ]
    .into_iter()
    .enumerate()
    {
        let file =
            |of: &str| format!("name: test/{i}\nspec:\n  groups: [{{base_lr: 0.1}}]\n  total_steps: 10\n  {of}\n");
        succeeds(&lrs(&server, "register", &file(short)));
        let out = succeeds(&lrs(&server, "register", &file(long)));
        assert!(out.contains("registered already"), "{long}: {out}");
        let out = succeeds(&lrs(&server, "apply", &file(long)));
        assert!(out.contains("1 left alone"), "{long}: {out}");
        let (_, err) = texts(&lrs(
            &server,
            "register",
            &file(&long.replace("0.1", "0.2")).replace("total_steps: 10", "total_steps: 11"),
        ));
        assert!(err.contains("total_steps"), "{err}");
    }
}
