//! The data of the monitor's pages, read over HTTP.

use lrs_proto::{JobSpec, StreamTelemetryRequest};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::server::{PATIENCE, Server, Stream};

/// Registers a job and begins its training.
pub async fn train(server: &Server, id: &str, spec: JobSpec) -> (String, Stream) {
    let job = server.register(id, spec).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let stream = server.stream(&job, attempt, 0).await;
    (job, stream)
}

/// The JSON at a path.
pub async fn json(server: &Server, path: &str) -> Value {
    let (status, body) = server.http_get(path).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap_or_else(|problem| panic!("{problem}: {body}"))
}

/// Reports steps that were trained at this rate.
pub async fn at_rate(stream: &mut Stream, steps: std::ops::Range<i64>, rate: f64) {
    let step: Vec<i64> = steps.collect();
    let through_step = step.last().copied();
    let (loss, learning_rate) = (vec![1.0; step.len()], vec![rate; step.len()]);
    stream.send(StreamTelemetryRequest { step, loss, learning_rate, through_step, ..Default::default() }).await;
    stream.until_durable(through_step.unwrap()).await;
}

/// A stream of events; each event has a name and data.
pub struct Events(BufReader<TcpStream>);

impl Events {
    /// Opens the stream.
    pub async fn open(server: &Server, path: &str) -> Self {
        let mut socket = TcpStream::connect(&server.http).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        let mut events = Self(BufReader::new(socket));
        while !events.line().await.is_empty() {}
        events
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("an event").unwrap();
        line.trim_end().to_owned()
    }

    /// The next event.
    pub async fn next(&mut self) -> (String, Value) {
        let name = loop {
            if let Some(name) = self.line().await.strip_prefix("event: ") {
                break name.to_owned();
            }
        };
        let data = self.line().await;
        (name, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap())
    }
}
