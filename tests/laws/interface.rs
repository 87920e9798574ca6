//! The server as its callers meet it: real sockets on free ports, the generated client, one SQLite file.

use std::time::Duration;

use futures::{StreamExt as _, channel::mpsc};
use lrs::{
    app::{Ending, Server},
    config::{Config, Options},
};
use lrs_proto::{
    CreateJobRequest, GetLearningRateRequest, Job, JobSpec, ParameterGroup, StartAttemptRequest,
    StreamTelemetryRequest, StreamTelemetryResponse, WatchJobRequest, codec::Wire,
    job_service_client::JobServiceClient, learning_rate_service_client::LearningRateServiceClient, reflect,
};
use prost::bytes::Bytes;
use tokio::{sync::mpsc::Sender, task::JoinHandle, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming, client::Grpc, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt as _;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const JOB: &str = "namespaces/test/jobs/one";

/// A server of this test alone.
struct Running {
    channel: Channel,
    signals: mpsc::Sender<()>,
    server: JoinHandle<anyhow::Result<Ending>>,
    _data: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let options = Options {
            database_url: Some(format!("sqlite://{}", data.path().join("lrs.db").display()).into()),
            grpc_listen: Some("127.0.0.1:0".into()),
            http_listen: Some("127.0.0.1:0".into()),
            ..Options::default()
        };
        let server = Server::start(&Config::checked(options).unwrap()).await.unwrap();
        timeout(PATIENCE, server.readiness()).await.unwrap();
        let address = format!("http://{}", server.grpc_address());
        let (signals, receiver) = mpsc::channel(2);
        Self {
            server: tokio::spawn(server.run_until(receiver)),
            channel: Channel::from_shared(address).unwrap().connect().await.unwrap(),
            signals,
            _data: data,
        }
    }

    fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone())
    }

    fn trainers(&self) -> LearningRateServiceClient<Channel> {
        LearningRateServiceClient::new(self.channel.clone())
    }

    /// Registers [`JOB`] and begins an attempt.
    async fn train(&self, token: &str) -> i64 {
        let groups = vec![ParameterGroup { base_lr: 0.1, ..Default::default() }];
        let spec = JobSpec { groups, total_steps: Some(100), ..Default::default() };
        let request = CreateJobRequest {
            parent: "namespaces/test".into(),
            job_id: "one".into(),
            job: Some(Job { spec: Some(spec), ..Default::default() }),
            request_id: "the same".into(),
            ..Default::default()
        };
        self.jobs().create_job(request).await.unwrap();
        let request =
            StartAttemptRequest { job: JOB.into(), attempt_token: token.into(), resume_step: 0, ..Default::default() };
        self.trainers().start_attempt(request).await.unwrap().into_inner().attempt
    }

    async fn stream(&self) -> (Sender<StreamTelemetryRequest>, Streaming<StreamTelemetryResponse>) {
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        let answers = self.trainers().stream_telemetry(ReceiverStream::new(receiver)).await.unwrap();
        (sender, answers.into_inner())
    }

    async fn stop(mut self) -> Ending {
        self.signals.try_send(()).unwrap();
        drop(self.channel);
        timeout(PATIENCE, self.server).await.unwrap().unwrap().unwrap()
    }
}

fn report(attempt: i64, step: Vec<i64>, loss: Vec<f64>) -> StreamTelemetryRequest {
    let through_step = step.last().copied();
    StreamTelemetryRequest { job: JOB.into(), attempt, step, loss, through_step, ..Default::default() }
}

async fn next<T>(answers: &mut Streaming<T>) -> Result<Option<T>, Status> {
    timeout(PATIENCE, answers.message()).await.unwrap()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

#[tokio::test]
async fn a_stream_acknowledges_in_order_and_counts_repeats_and_conflicts() {
    let server = Running::start().await;
    let attempt = server.train("first").await;
    let (sender, mut answers) = server.stream().await;
    sender.send(report(attempt, vec![0, 1], vec![2.0, f64::NAN])).await.unwrap();
    sender.send(report(attempt, vec![0, 1], vec![2.5, f64::NAN])).await.unwrap();
    drop(sender);

    let mut last = StreamTelemetryResponse::default();
    let mut conflict_step = None;
    while let Some(answer) = next(&mut answers).await.unwrap() {
        assert!(answer.durable_messages > last.durable_messages);
        conflict_step = conflict_step.or(answer.conflict_step);
        last = answer;
    }

    assert_eq!((last.durable_messages, last.durable_through_step), (2, Some(1)));
    assert_eq!((last.repeated_samples, last.conflicting_samples, conflict_step), (1, 1, Some(0)));
    assert_eq!(server.stop().await, Ending::Drained);
}

#[tokio::test]
async fn directives_come_down_the_stream_without_gaps_and_agree_with_what_is_asked_for() {
    let server = Running::start().await;
    let attempt = server.train("first").await;
    let (sender, mut answers) = server.stream().await;
    let first = StreamTelemetryRequest { want_directives: true, ..report(attempt, vec![0], vec![1.0]) };
    sender.send(first).await.unwrap();

    let mut directives = Vec::new();
    // Little is given out ahead of a trainer whose pace is not known.
    for step in 1..100 {
        directives.extend(next(&mut answers).await.unwrap().unwrap().directives);
        if directives.len() >= 5 {
            break;
        }
        sender.send(report(attempt, vec![step], vec![1.0])).await.unwrap();
    }

    for pair in directives.windows(2) {
        assert_eq!(pair[1].step, pair[0].step + 1);
    }
    let asked = GetLearningRateRequest { job: JOB.into(), attempt, step: directives[3].step, ..Default::default() };
    let answer = server.trainers().get_learning_rate(asked).await.unwrap().into_inner();
    assert_eq!(answer.directive.as_ref(), Some(&directives[3]));
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_message_ends_the_stream_and_what_was_accepted_before_stays() {
    let server = Running::start().await;
    let attempt = server.train("first").await;
    let (sender, mut answers) = server.stream().await;
    sender.send(report(attempt, vec![0], vec![1.0])).await.unwrap();
    sender.send(report(attempt, vec![2, 1], vec![1.0, 1.0])).await.unwrap();

    assert_eq!(next(&mut answers).await.unwrap().unwrap().durable_messages, 1);
    let status = next(&mut answers).await.unwrap_err();

    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_ARGUMENT"));
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "step[1]");
    server.stop().await;
}

#[tokio::test]
async fn a_newer_attempt_ends_the_stream_of_the_older() {
    let server = Running::start().await;
    let old = server.train("first").await;
    let (sender, mut answers) = server.stream().await;
    sender.send(report(old, vec![0], vec![1.0])).await.unwrap();
    next(&mut answers).await.unwrap().unwrap();
    server.train("second").await;

    let status = next(&mut answers).await.unwrap_err();

    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "STALE_ATTEMPT"));
    server.stop().await;
}

#[tokio::test]
async fn a_signal_ends_streams_with_a_reason_and_the_process_in_order() {
    let server = Running::start().await;
    let attempt = server.train("first").await;
    let (sender, mut answers) = server.stream().await;
    sender.send(report(attempt, vec![0], vec![1.0])).await.unwrap();
    next(&mut answers).await.unwrap().unwrap();
    let mut events = server.jobs().watch_job(WatchJobRequest { name: JOB.into() }).await.unwrap().into_inner();
    next(&mut events).await.unwrap().unwrap();
    let mut health = HealthClient::new(server.channel.clone());
    let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(next(&mut watched).await.unwrap().unwrap().status(), ServingStatus::Serving);

    assert_eq!(server.stop().await, Ending::Drained);

    assert_eq!(reason(&next(&mut answers).await.unwrap_err()), "SHUTTING_DOWN");
    while let Some(event) = events.next().await {
        let Err(status) = event else { continue };
        assert_eq!(reason(&status), "SHUTTING_DOWN");
    }
    assert_eq!(next(&mut watched).await.unwrap().unwrap().status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn every_method_has_a_handler_and_every_service_its_health() {
    let server = Running::start().await;
    for method in reflect::methods() {
        let mut client = Grpc::new(server.channel.clone());
        client.ready().await.unwrap();
        let path = reflect::path(&method).parse().unwrap();
        // An empty request is wrong for nearly all of them, and none of them is unknown.
        let status = if method.is_server_streaming() {
            let answers = client.server_streaming(Request::new(Bytes::new()), path, Wire).await;
            match answers {
                Ok(answers) => next(&mut answers.into_inner()).await.err(),
                Err(status) => Some(status),
            }
        } else {
            client.unary(Request::new(Bytes::new()), path, Wire).await.err()
        };
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        assert!(!matches!(code, Code::Unimplemented | Code::Internal), "{}: {status:?}", method.full_name());
    }
    let mut health = HealthClient::new(server.channel.clone());
    for service in reflect::pool().services() {
        let request = HealthCheckRequest { service: service.full_name().to_owned() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{}", service.full_name());
    }
    server.stop().await;
}
