//! A real `lrs serve` process and clients of it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use lrs_proto::{
    CreateJobRequest, Directive, GetLearningRateRequest, GetLearningRateResponse, Job, JobSpec, ParameterGroup,
    StartAttemptRequest, StreamTelemetryRequest, StreamTelemetryResponse, job_service_client::JobServiceClient,
    learning_rate_service_client::LearningRateServiceClient, schedule_service_client::ScheduleServiceClient,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

/// The longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How many times a server is started while one of its addresses is in use.
const START_TRIES: u32 = 20;

/// A server process with its own directory; killed when dropped.
pub struct Server {
    directory: tempfile::TempDir,
    database_url: String,
    arguments: Vec<String>,
    child: Child,
    pub grpc: String,
    pub http: String,
}

impl Server {
    /// A server over a fresh SQLite file.
    pub async fn sqlite() -> Self {
        Self::with_sqlite(&[]).await
    }

    /// A server over a fresh SQLite file, with further arguments.
    pub async fn with_sqlite(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("lrs.db").display());
        Self::begin(directory, url, arguments).await
    }

    /// A server over any database, with further arguments.
    pub async fn with(database_url: &str, arguments: &[&str]) -> Self {
        Self::begin(tempfile::tempdir().unwrap(), database_url.to_owned(), arguments).await
    }

    /// A server over a database that another server has open: it is not ready when this returns.
    pub async fn standby(database_url: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let path = directory.path().join("log");
        let log = std::fs::File::create(&path).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_lrs"))
            .args(["serve", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .args(["--database-url", database_url])
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Self {
            directory,
            database_url: database_url.to_owned(),
            arguments,
            child,
            grpc: String::new(),
            http: String::new(),
        };
        let address = |log: &str, name: &str| {
            let line = log.lines().find_map(|line| line.trim().strip_prefix(name).map(str::trim))?;
            Some(line.trim_start_matches("http://").to_owned())
        };
        (server.grpc, server.http) = wait_for("the server to say where it listens", async || {
            let log = server.log();
            address(&log, "gRPC ").zip(address(&log, "HTTP "))
        })
        .await;
        server
    }

    async fn begin(directory: tempfile::TempDir, database_url: String, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (child, grpc, http) = spawn(directory.path(), &database_url, ["127.0.0.1:0"; 2], &arguments).await;
        Self { directory, database_url, arguments, child, grpc, http }
    }

    /// The database file of [`Server::sqlite`].
    pub fn database_file(&self) -> PathBuf {
        self.directory.path().join("lrs.db")
    }

    /// The process identifier.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// The URL of the server's database.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// The server's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process without warning and without flushing, as a power failure would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(process, signal).unwrap();
    }

    /// Asks the server to stop and returns its exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        wait_for("the server to stop", async || self.child.try_wait().unwrap()).await.code()
    }

    /// A new process over the same database, at the same addresses.
    pub async fn start_again(&mut self) {
        let (grpc, http) = (self.grpc.clone(), self.http.clone());
        (self.child, self.grpc, self.http) =
            spawn(self.directory.path(), &self.database_url, [&grpc, &http], &self.arguments).await;
    }

    pub async fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel().await)
    }

    pub async fn rates(&self) -> LearningRateServiceClient<Channel> {
        LearningRateServiceClient::new(self.channel().await)
    }

    pub async fn schedules(&self) -> ScheduleServiceClient<Channel> {
        ScheduleServiceClient::new(self.channel().await)
    }

    pub async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    /// Registers a job in the namespace `test`.
    pub async fn register(&self, id: &str, spec: JobSpec) -> Job {
        self.try_register(id, spec).await.unwrap()
    }

    pub async fn try_register(&self, id: &str, spec: JobSpec) -> Result<Job, Status> {
        let job = Some(Job { spec: Some(spec), ..Job::default() });
        let request =
            CreateJobRequest { parent: "namespaces/test".to_owned(), job_id: id.to_owned(), job, ..Default::default() };
        self.jobs().await.create_job(request).await.map(tonic::Response::into_inner)
    }

    /// Starts an attempt and returns its number.
    pub async fn start_attempt(&self, job: &str, token: &str, resume_step: i64) -> i64 {
        let request = StartAttemptRequest {
            job: job.to_owned(),
            attempt_token: token.to_owned(),
            resume_step,
            ..Default::default()
        };
        self.rates().await.start_attempt(request).await.unwrap().into_inner().attempt
    }

    /// The rate of a step, once it is final.
    pub async fn final_rate(&self, job: &str, attempt: i64, step: i64) -> f64 {
        let answer = self.ask(job, attempt, step, 0, PATIENCE).await.unwrap();
        let directive = answer.directive.unwrap();
        assert!(directive.is_final, "step {step} of {job} is not final");
        directive.rates[0].learning_rate
    }

    pub async fn ask(
        &self,
        job: &str,
        attempt: i64,
        step: i64,
        plan_steps: i32,
        wait: Duration,
    ) -> Result<GetLearningRateResponse, Status> {
        let wait = Some(wait.into());
        let request = GetLearningRateRequest { job: job.to_owned(), attempt, step, plan_steps, wait };
        self.rates().await.get_learning_rate(request).await.map(tonic::Response::into_inner)
    }

    /// A telemetry stream that wants directives.
    pub async fn stream(&self, job: &str, attempt: i64, rank: i32) -> Stream {
        Stream::open(self, job, attempt, rank).await
    }

    /// A GET over HTTP: status and body.
    pub async fn http_get(&self, path: &str) -> (u16, String) {
        self.http_request("GET", path, "").await
    }

    /// Any request over HTTP with a JSON body: status and body.
    pub async fn http_request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut socket = tokio::net::TcpStream::connect(&self.http).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.http,
            body.len(),
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let body = if head.contains("transfer-encoding: chunked") { joined(body) } else { body.to_owned() };
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }
}

/// Joins a chunked body, in which a length comes before each chunk.
fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let (chunk, rest) = rest.split_at(usize::from_str_radix(length, 16).unwrap());
        body.push_str(chunk);
        chunks = rest.trim_start_matches("\r\n");
    }
    body
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}", self.log());
        }
    }
}

/// Starts a server process, and waits until it is ready.
///
/// A port that the kernel chose is free. A server that is started again has fixed addresses, and while it was away the
/// kernel may have given its port to somebody's outgoing connection. Such a connection is soon over, so the start is
/// tried again.
async fn spawn(
    directory: &Path,
    database_url: &str,
    listen: [&str; 2],
    arguments: &[String],
) -> (Child, String, String) {
    for tries_left in (0..START_TRIES).rev() {
        match try_spawn(directory, database_url, listen, arguments).await {
            Ok(started) => return started,
            Err(log) if tries_left > 0 && log.contains("Address already in use") => {
                eprintln!("an address of {listen:?} is in use: starting the server again");
                let is_free = |address: &&str| std::net::TcpListener::bind(*address).is_ok();
                wait_for("the addresses to be free", async || listen.iter().all(is_free).then_some(())).await;
            }
            Err(log) => panic!("the server does not start at {listen:?}:\n{log}"),
        }
    }
    unreachable!("the last try returns or panics");
}

/// Tries once: returns the process and its two addresses, or the log of a process that ended.
async fn try_spawn(
    directory: &Path,
    database_url: &str,
    [grpc, http]: [&str; 2],
    arguments: &[String],
) -> Result<(Child, String, String), String> {
    let ready = directory.join("ready.json");
    let _ = std::fs::remove_file(&ready);
    let path = directory.join("log");
    let log = std::fs::File::options().create(true).append(true).open(&path).unwrap();
    let logged_before = usize::try_from(log.metadata().unwrap().len()).unwrap();
    let logged = || {
        let text = std::fs::read(&path).unwrap_or_default();
        String::from_utf8_lossy(text.get(logged_before..).unwrap_or_default()).into_owned()
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_lrs"))
        .args(["serve", "--grpc-listen", grpc, "--http-listen", http])
        .args(["--database-url", database_url, "--ready-file", ready.to_str().unwrap()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let started = look_for(async || match child.try_wait().unwrap() {
        Some(status) => Some(Err(format!("{status}\n{}", logged()))),
        None => Some(Ok(serde_json::from_slice::<serde_json::Value>(&std::fs::read(&ready).ok()?).ok()?)),
    })
    .await;
    let Some(started) = started else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("not ready within {PATIENCE:?}\n{}", logged()));
    };
    let addresses = started?;
    let address = |name: &str| addresses[name].as_str().unwrap().to_owned();
    Ok((child, address("grpc"), address("http")))
}

/// Waits until `found` returns something, and fails after [`PATIENCE`].
pub async fn wait_for<T>(what: &str, found: impl AsyncFnMut() -> Option<T>) -> T {
    look_for(found).await.unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// Waits until `found` returns something; `None` after [`PATIENCE`].
pub async fn look_for<T>(mut found: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    let looking = async {
        loop {
            pause.tick().await;
            if let Some(found) = found().await {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.ok()
}

/// One group named `default` at `base_lr`.
pub fn spec(base_lr: f64) -> JobSpec {
    JobSpec {
        groups: vec![ParameterGroup { name: "default".to_owned(), base_lr, ..Default::default() }],
        ..Default::default()
    }
}

/// A spec in canonical JSON.
pub fn spec_json(text: &str) -> JobSpec {
    serde_json::from_str(text).unwrap()
}

/// A telemetry stream of one rank.
pub struct Stream {
    requests: mpsc::Sender<StreamTelemetryRequest>,
    rank: i32,
    answers: Streaming<StreamTelemetryResponse>,
    /// The answers' directives, by step.
    pub directives: std::collections::BTreeMap<i64, Directive>,
    /// The sentences for the trainer's log, in the order they came.
    pub notices: Vec<String>,
    /// The newest answer.
    pub latest: StreamTelemetryResponse,
}

impl Stream {
    async fn open(server: &Server, job: &str, attempt: i64, rank: i32) -> Self {
        let (requests, queue) = mpsc::channel(64);
        let first =
            StreamTelemetryRequest { job: job.to_owned(), attempt, rank, want_directives: true, ..Default::default() };
        requests.send(first).await.unwrap();
        let answers = server.rates().await.stream_telemetry(ReceiverStream::new(queue)).await.unwrap().into_inner();
        Self {
            requests,
            rank,
            answers,
            directives: std::collections::BTreeMap::new(),
            notices: Vec::new(),
            latest: StreamTelemetryResponse::default(),
        }
    }

    /// Reports a loss for each step, and closes the steps.
    pub async fn losses(&self, first_step: i64, losses: &[f64]) {
        let step: Vec<i64> = (first_step..).take(losses.len()).collect();
        let through_step = step.last().copied();
        self.send(StreamTelemetryRequest { step, loss: losses.to_vec(), through_step, ..Default::default() }).await;
    }

    pub async fn send(&self, request: StreamTelemetryRequest) {
        self.requests.send(StreamTelemetryRequest { rank: self.rank, ..request }).await.unwrap();
    }

    /// The next answer, or the status that the stream ended with.
    pub async fn next(&mut self) -> Result<Option<StreamTelemetryResponse>, Status> {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await.expect("an answer on the stream")?;
        if let Some(answer) = &answer {
            self.notices.extend(answer.notices.iter().cloned());
            self.directives.extend(answer.directives.iter().map(|directive| (directive.step, directive.clone())));
            let durable_through_step = answer.durable_through_step.or(self.latest.durable_through_step);
            self.latest = StreamTelemetryResponse { durable_through_step, ..answer.clone() };
        }
        Ok(answer)
    }

    /// Reads answers until `step` is durable.
    pub async fn until_durable(&mut self, step: i64) {
        while self.latest.durable_through_step.is_none_or(|durable| durable < step) {
            self.next().await.unwrap().expect("the stream goes on");
        }
    }

    /// Reads answers until `messages` of this stream, the first one included, are durable.
    pub async fn until_messages(&mut self, messages: i64) {
        while self.latest.durable_messages < messages {
            self.next().await.unwrap().expect("the stream goes on");
        }
    }

    /// Reads answers until the directive of `step` has come.
    pub async fn directive(&mut self, step: i64) -> Directive {
        loop {
            if let Some(directive) = self.directives.get(&step) {
                return directive.clone();
            }
            self.next().await.unwrap().expect("the stream goes on");
        }
    }

    /// The status that the stream ends with.
    pub async fn end(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a status"),
                Err(status) => return status,
            }
        }
    }
}
