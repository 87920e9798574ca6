//! Whatever is done to a job is on record: who, when, why and by which way. The log says it in words.

use std::process::Command;

use crate::{
    postgres::TestPostgres,
    server::{Server, spec, wait_for},
};
use lrs_proto::{
    AdviseStopRequest, Change, CompleteJobRequest, CreateJobRequest, DeleteJobRequest, ForkJobRequest, GetJobRequest,
    Job, ListChangesRequest, OverrideCleared, OverrideLearningRateRequest, PauseJobRequest, ResumeJobRequest,
    UpdateJobRequest, WatchJobRequest,
    change::{Kind, Origin},
    job::State,
    override_learning_rate_request::Order,
    watch_job_response::Event,
};
use tonic::Code;

async fn changes(server: &Server, job: &str, page_size: i32) -> Vec<Change> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListChangesRequest { job: job.to_owned(), page_size, page_token };
        let page = server.jobs().await.list_changes(request).await.unwrap().into_inner();
        found.extend(page.changes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_of_another_request_is_refused_whatever_that_was() {
    for server in [Server::sqlite().await, Server::with(&TestPostgres::shared().create_database().await, &[]).await] {
        let create = CreateJobRequest {
            parent: "namespaces/test".to_owned(),
            job_id: "a".to_owned(),
            job: Some(Job { spec: Some(spec(0.1)), ..Job::default() }),
            request_id: "first".to_owned(),
            ..Default::default()
        };
        let job = server.jobs().await.create_job(create).await.unwrap().into_inner().name;
        server.jobs().await.update_job(rename(&job, "b", "second")).await.unwrap();
        for used in ["first", "second"] {
            let body = format!(r#"{{"request_id": "{used}", "set": {{"factor": 0.5}}}}"#);
            for verb in ["override", "adviseStop", "pause", "complete"] {
                let body = if verb == "override" {
                    body.clone()
                } else {
                    format!(r#"{{"request_id": "{used}", "reason": "why"}}"#)
                };
                let (status, answer) = server.http_request("POST", &format!("/v1/{job}:{verb}"), &body).await;
                assert!(status == 400 && answer.contains("REQUEST_ID_REUSED"), "{verb} {used}: {status} {answer}");
            }
        }
        let found = changes(&server, &job, 10).await;
        let asked: Vec<&str> = found.iter().map(|change| change.request_id.as_str()).collect();
        assert_eq!(asked, ["first", "second"]);
        let (_, text) = server.http_get("/metrics").await;
        assert!(text.contains("lrs_commit_failures_total{kind=\"differs\"} 0"), "{text}");
    }
}

fn rename(job: &str, display_name: &str, request_id: &str) -> UpdateJobRequest {
    let mut spec = spec(0.1);
    display_name.clone_into(&mut spec.display_name);
    UpdateJobRequest {
        job: Some(Job { name: job.to_owned(), spec: Some(spec), ..Job::default() }),
        update_mask: Some(pbjson_types::FieldMask { paths: vec!["spec.display_name".to_owned()] }),
        author: "ann".to_owned(),
        reason: "a better name".to_owned(),
        request_id: request_id.to_owned(),
    }
}

async fn everything_done_to_a_job_is_on_record(url: &str) {
    let mut server = Server::with(url, &[]).await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    server.final_rate(&job, attempt, 5).await;
    let mut jobs = server.jobs().await;
    let mut events = jobs.watch_job(WatchJobRequest { name: job.clone() }).await.unwrap().into_inner();
    let (author, name) = ("ann".to_owned(), job.clone());

    jobs.update_job(rename(&job, "A", "r1")).await.unwrap();
    let reason = "the loss\nspikes".to_owned();
    let pause = PauseJobRequest { name: name.clone(), author: author.clone(), reason, ..Default::default() };
    jobs.pause_job(pause).await.unwrap();
    jobs.resume_job(ResumeJobRequest { name: name.clone(), ..Default::default() }).await.unwrap();
    let order = Some(Order::Clear(OverrideCleared {}));
    let clear = OverrideLearningRateRequest { name: name.clone(), order, ..Default::default() };
    jobs.override_learning_rate(clear).await.unwrap();
    let advice = AdviseStopRequest { name: name.clone(), reason: "worst".to_owned(), ..Default::default() };
    jobs.advise_stop(advice).await.unwrap();
    let fork =
        ForkJobRequest { name: name.clone(), job_id: "b".to_owned(), author: author.clone(), ..Default::default() };
    let fork = jobs.fork_job(fork).await.unwrap().into_inner().name;
    let outcome = State::Failed.into();
    let end =
        CompleteJobRequest { name: name.clone(), outcome, author, request_id: "r2".to_owned(), ..Default::default() };
    jobs.complete_job(end.clone()).await.unwrap();
    let told = loop {
        let event = events.message().await.unwrap().expect("the change is told").event;
        if let Some(Event::Change(change)) = event {
            break change;
        }
    };
    assert_eq!((told.kind(), told.detail.as_str()), (Kind::Updated, "display_name"));

    let found = changes(&server, &job, 2).await;
    let kinds: Vec<Kind> = found.iter().map(Change::kind).collect();
    let expected = [
        Kind::Created,
        Kind::Updated,
        Kind::Paused,
        Kind::Resumed,
        Kind::OverrideCleared,
        Kind::StopAdvised,
        Kind::ForkedInto,
        Kind::Failed,
    ];
    assert_eq!(kinds, expected);
    let renamed = &found[1];
    assert_eq!((renamed.author.as_str(), renamed.reason.as_str()), ("ann", "a better name"));
    assert_eq!((renamed.request_id.as_str(), renamed.origin()), ("r1", Origin::Api));
    assert!(found.iter().all(|change| change.create_time.is_some() && change.name.starts_with(&job)), "{found:?}");
    assert!(found[2].decision.ends_with("/decisions/p1") && found[2].step.is_some(), "{:?}", found[2]);
    assert_eq!(changes(&server, &fork, 100).await.iter().map(Change::kind).collect::<Vec<_>>(), [Kind::Forked]);

    // A repeat changes nothing more, whatever came in between; another request by the same identifier is refused.
    server.jobs().await.complete_job(end).await.unwrap();
    assert_eq!(changes(&server, &job, 100).await.len(), expected.len());
    let delete = DeleteJobRequest {
        name: name.clone(),
        author: "bob".to_owned(),
        reason: "a test".to_owned(),
        request_id: "r3".to_owned(),
        ..Default::default()
    };
    let reused = DeleteJobRequest { request_id: "r2".to_owned(), ..delete.clone() };
    assert_eq!(server.jobs().await.delete_job(reused).await.unwrap_err().code(), Code::FailedPrecondition);
    server.jobs().await.delete_job(delete.clone()).await.unwrap();
    server.jobs().await.delete_job(delete).await.unwrap();
    let gone = server.jobs().await.get_job(GetJobRequest { name: job.clone() }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);

    // The record outlives the job, and the process.
    server.kill();
    server.start_again().await;
    let last = changes(&server, &job, 100).await.pop().unwrap();
    assert_eq!((last.kind(), last.author.as_str(), last.reason.as_str()), (Kind::Deleted, "bob", "a test"));
    let log = server.log();
    for words in [
        r"anonymous registered test/a",
        r#"ann changed display_name of test/a: "a better name""#,
        r"ann paused test/a at step ",
        r#": "the loss\nspikes""#,
        r"ann forked test/b from namespaces/test/jobs/a at step 0",
        r"ann ended test/a as failed",
        r#"bob deleted test/a, which was FAILED: "a test""#,
    ] {
        assert!(log.contains(words), "{words}\n{log}");
    }
    let unknown = ListChangesRequest { job: "namespaces/test/jobs/never".to_owned(), ..Default::default() };
    assert_eq!(server.jobs().await.list_changes(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_done_to_a_job_is_on_record_in_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    everything_done_to_a_job_is_on_record(&format!("sqlite://{}", directory.path().join("lrs.db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_done_to_a_job_is_on_record_in_postgres() {
    everything_done_to_a_job_is_on_record(&TestPostgres::shared().create_database().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_an_update_does_not_undo_what_came_after_it() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let mut jobs = server.jobs().await;
    jobs.update_job(rename(&job, "first", "r1")).await.unwrap();
    jobs.update_job(rename(&job, "second", "r2")).await.unwrap();
    let repeated = jobs.update_job(rename(&job, "first", "r1")).await.unwrap().into_inner();
    assert_eq!(repeated.spec.unwrap().display_name, "second");
    let reused = jobs.update_job(rename(&job, "third", "r1")).await.unwrap_err();
    assert_eq!(reused.code(), Code::FailedPrecondition);
    assert_eq!(changes(&server, &job, 100).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_who_and_why_and_shows_the_history() {
    let server = Server::sqlite().await;
    server.register("a", spec(0.1)).await;
    let lrs = |arguments: &[&str]| {
        let url = format!("http://{}", server.grpc);
        let run = Command::new(env!("CARGO_BIN_EXE_lrs")).args(arguments).env("LRS_SERVER", url).output().unwrap();
        assert!(run.status.success(), "{run:?}");
        String::from_utf8(run.stdout).unwrap()
    };
    lrs(&["job", "update", "test/a", "--set", "spec.display_name=A", "--author", "ann", "--reason", "a better name"]);
    lrs(&["job", "delete", "test/a", "--force", "--yes", "--author", "bob", "--reason", "a test"]);
    let history = lrs(&["job", "changes", "test/a"]);
    for words in ["anonymous registered test/a", "ann changed display_name of test/a", "bob deleted test/a", "cli"] {
        assert!(history.contains(words), "{words}\n{history}");
    }
    let json: serde_json::Value = serde_json::from_str(&lrs(&["job", "changes", "test/a", "--json"])).unwrap();
    assert_eq!(json["changes"][1]["origin"], "ORIGIN_CLI", "{json}");
}

/// Over HTTP the author, the reason and the identifier of a deletion are parameters of the query.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_over_http_says_who_and_why() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let path = format!("/v1/{job}?force=true&author=bob&reason=a%20test&request_id=r1");
    for _ in 0..2 {
        assert_eq!(server.http_request("DELETE", &path, "").await.0, 200);
    }
    let (_, listed) = server.http_get(&format!("/v1/{job}/changes")).await;
    assert!(listed.contains("KIND_DELETED") && listed.contains(r#""author":"bob""#), "{listed}");
    wait_for("the deletion to be in the log", async || {
        server.log().contains(r#"bob deleted test/a, which was PENDING: "a test""#).then_some(())
    })
    .await;
}
