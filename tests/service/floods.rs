//! Floods of frames of HTTP/2 that cost their sender nothing. The server answers by closing the connection, or reads no
//! more of it; others are served meanwhile.

use std::time::Duration;

use crate::limits::{another_trains, assert_small};
use crate::server::{Server, spec};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet, time::timeout};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a flood sends unless it is stopped.
const FLOOD_BYTES: usize = 64 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a call, as HPACK writes it without its tables.
fn head(path: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let method_and_scheme = [0x83, 0x86];
    [
        &method_and_scheme[..],
        &[&[0x04][..], &text(path)].concat(),
        &[&[0x01][..], &text("lrs")].concat(),
        &[&[0x0f, 0x10][..], &text("application/grpc")].concat(),
        &[&[0x00][..], &text("te"), &text("trailers")].concat(),
    ]
    .concat()
}

/// Makes the frames of a flood, one after another.
type Next = Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>;

/// A stream of a client: the first is 1.
fn stream(number: u32) -> u32 {
    number.wrapping_mul(2).wrapping_add(1) & 0x7fff_ffff
}

/// Sends frames, and reads nothing, until the server closes the connection or takes no more. The bytes that it took.
async fn flood(address: String, first: Vec<u8>, next: impl Fn(u32) -> Vec<u8>) -> usize {
    let mut socket = TcpStream::connect(&address).await.unwrap();
    socket.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &first].concat()).await.unwrap();
    let (mut number, mut sent) = (0, 0);
    while sent < FLOOD_BYTES {
        let mut bytes = Vec::new();
        while bytes.len() < 1 << 16 {
            bytes.extend(next(number));
            number += 1;
        }
        sent += bytes.len();
        match timeout(Duration::from_secs(3), socket.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_their_connection_or_are_not_read() {
    let server = Server::with_sqlite(&["--write-timeout", "2s"]).await;
    let job = server.register("a", spec(0.1)).await.name;
    let (get, watch) = ("/lrs.v1.JobService/GetJob", "/lrs.v1.JobService/WatchJob");
    let call =
        [&[0, 0, 0, 0, u8::try_from(job.len() + 2).unwrap(), 10, u8::try_from(job.len()).unwrap()], job.as_bytes()];
    let call = call.concat();
    let opened = frame(HEADERS, END_HEADERS, 1, &head(get));
    let unended = frame(HEADERS, 0, 1, &head(get));
    let floods: [(&str, Vec<u8>, Next); 10] = [
        ("pings", Vec::new(), Box::new(|_| frame(PING, 0, 0, &[7; 8]))),
        ("settings", Vec::new(), Box::new(|_| frame(SETTINGS, 0, 0, &[]))),
        ("priorities", Vec::new(), Box::new(|number| frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 1]))),
        ("windows", opened.clone(), Box::new(|_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]))),
        ("empty data", opened.clone(), Box::new(|_| frame(DATA, 0, 1, &[]))),
        ("small data", opened, Box::new(|_| frame(DATA, 0, 1, &[0]))),
        (
            "headers without an end",
            unended,
            Box::new(|_| frame(CONTINUATION, 0, 1, &[&[0, 1, b'a', 100][..], &[b'b'; 100]].concat())),
        ),
        (
            "calls that are reset",
            Vec::new(),
            Box::new(move |number| {
                let begin = frame(HEADERS, END_HEADERS, stream(number), &head(get));
                [begin, frame(RST_STREAM, 0, stream(number), &[0, 0, 0, 8])].concat()
            }),
        ),
        (
            "calls",
            Vec::new(),
            Box::new({
                let call = call.clone();
                move |number| {
                    let begin = frame(HEADERS, END_HEADERS, stream(number), &head(get));
                    [begin, frame(DATA, END_STREAM, stream(number), &call)].concat()
                }
            }),
        ),
        (
            "streams",
            Vec::new(),
            Box::new(move |number| {
                let begin = frame(HEADERS, END_HEADERS, stream(number), &head(watch));
                [begin, frame(DATA, END_STREAM, stream(number), &call)].concat()
            }),
        ),
    ];

    let mut running = JoinSet::new();
    for (name, first, next) in floods {
        let address = server.grpc.clone();
        running.spawn(async move { (name, flood(address, first, next).await) });
    }
    another_trains(&server).await;
    for (name, sent) in running.join_all().await {
        println!("{name}: {sent} bytes");
    }
    another_trains_again(&server).await;
    assert_small(&server);
}

/// The server is as it was.
async fn another_trains_again(server: &Server) {
    let job = server.register("again", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    assert_eq!(server.final_rate(&job, attempt, 0).await.to_bits(), 0.1f64.to_bits());
}
