//! Callers that speak HTTP/2 or HTTP/1.1 by themselves, so that they can do what no library does.

use std::{fs, future::poll_fn};

use crate::server::{PATIENCE, Server, wait_for};
use axum::body::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{self, ResponseFuture, SendRequest},
};
use prost::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

/// A connection over HTTP/2.
pub struct Http2 {
    calls: SendRequest<Bytes>,
    windows: mpsc::Sender<u32>,
    connection: JoinHandle<()>,
}

/// A call that has begun: the answer to come, and the request, which can go on.
pub type Call = (ResponseFuture, SendStream<Bytes>);

impl Http2 {
    /// Connects. Of each answer the server may send `window` bytes before the caller reads.
    pub async fn connect(server: &Server, window: u32) -> Self {
        let socket = TcpStream::connect(&server.grpc).await.unwrap();
        let mut builder = client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(1 << 20);
        let (calls, mut connection) = builder.handshake(socket).await.unwrap();
        let (windows, mut wanted) = mpsc::channel(1);
        let connection = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut connection => return,
                    Some(window) = wanted.recv() => connection.set_initial_window_size(window).unwrap(),
                }
            }
        });
        Self { calls, windows, connection }
    }

    /// Begins a call of a method: `JobService/GetJob`. The request is not sent yet.
    pub async fn begin(&mut self, method: &str) -> Call {
        poll_fn(|context| self.calls.poll_ready(context)).await.unwrap();
        let request = http::Request::post(format!("http://lrs/lrs.v1.{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        self.calls.send_request(request, false).unwrap()
    }

    /// Calls a method.
    pub async fn call(&mut self, method: &str, request: &impl Message) -> ResponseFuture {
        let (answer, mut sending) = self.begin(method).await;
        sending.send_data(framed(request), true).unwrap();
        answer
    }

    /// Lets the server send so many bytes of each answer.
    pub async fn open_window(&self, window: u32) {
        self.windows.send(window).await.unwrap();
    }

    /// Waits until the server has closed the connection.
    pub async fn closed(mut self) {
        let closed = tokio::time::timeout(PATIENCE, &mut self.connection);
        closed.await.expect("the connection is closed").unwrap();
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A message as gRPC sends it.
pub fn framed(message: &impl Message) -> Bytes {
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.encoded_len()).unwrap().to_be_bytes());
    message.encode(&mut framed).unwrap();
    framed.into()
}

/// How a call ended: its code, or `None` if its stream was reset or the connection closed.
pub async fn code_of(answer: ResponseFuture) -> Option<tonic::Code> {
    let ended = async {
        let answer = answer.await.ok()?;
        let code =
            |headers: &http::HeaderMap| headers.get("grpc-status").map(|code| tonic::Code::from_bytes(code.as_bytes()));
        if let Some(code) = code(answer.headers()) {
            return Some(code);
        }
        let mut body: RecvStream = answer.into_body();
        while let Some(data) = body.data().await {
            let length = data.ok()?.len();
            body.flow_control().release_capacity(length).ok()?;
        }
        code(&body.trailers().await.ok()??)
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("the call ends")
}

/// A connection over HTTP/1.1 with a request on its way, whose answer the kernel takes little of.
pub async fn send(server: &Server, head: &str, body: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut socket = socket.connect(server.http.parse().unwrap()).await.unwrap();
    let request = format!("{head} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// All that comes on a connection until the server closes it.
pub async fn rest_of(mut socket: TcpStream) -> String {
    let mut rest = Vec::new();
    // A connection that the server gives up may also be reset.
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("the connection is closed");
    String::from_utf8_lossy(&rest).into_owned()
}

/// How many sockets the server has open.
pub fn sockets(server: &Server) -> usize {
    let files = fs::read_dir(format!("/proc/{}/fd", server.process_id())).unwrap();
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// Waits until the server has no more than so many sockets open.
pub async fn at_most_sockets(server: &Server, most: usize) {
    wait_for("the server to close connections", async || (sockets(server) <= most).then_some(())).await;
}
