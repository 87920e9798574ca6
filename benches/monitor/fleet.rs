//! The fleet with many busy jobs, and the outlook of a job with a long history.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    meter::{Meter, resident_mib},
    monitor::{Events, at_rate, json, train},
    server::{Server, spec, wait_for},
};

/// How long each measurement with viewers lasts.
const STRETCH: Duration = Duration::from_secs(10);
/// How many reports of every job a measurement without viewers waits for: as many as come in the same time.
const REPORTS: usize = 20;

/// The age of the rows of many busy jobs when they arrive, and the server's cost of a viewer.
pub async fn freshness() {
    const JOBS: usize = 500;
    let server = Server::sqlite().await;
    let mut trainers = Vec::new();
    for number in 0..JOBS {
        trainers.push(train(&server, &format!("busy-{number}"), spec(0.1)).await);
    }
    let reported: Arc<Vec<Mutex<Vec<Instant>>>> = Arc::new((0..JOBS).map(|_| Mutex::default()).collect());
    let mut tasks = tokio::task::JoinSet::new();
    for (number, (_, mut stream)) in trainers.into_iter().enumerate() {
        let reported = reported.clone();
        tasks.spawn(async move {
            // Two reports a second, of five steps each.
            let mut pause = tokio::time::interval(Duration::from_millis(500));
            for report in 0.. {
                pause.tick().await;
                stream.losses(5 * report, &[1.0; 5]).await;
                stream.until_durable(5 * report + 4).await;
                reported[number].lock().unwrap().push(Instant::now());
            }
        });
    }
    let all_report = async |more: usize| {
        let wanted: Vec<usize> = reported.iter().map(|times| times.lock().unwrap().len() + more).collect();
        let have = || reported.iter().zip(&wanted).all(|(times, wanted)| times.lock().unwrap().len() >= *wanted);
        wait_for("all to report", async || have().then_some(())).await;
    };
    all_report(3).await;
    let meter = Meter::begin(&server);
    all_report(REPORTS).await;
    let alone = meter.cores();

    // With a viewer: how old is the content of a row when the row arrives, counted from the acknowledgement of the
    // report?
    let mut events = Events::open(&server, "/v1/fleet:watch").await;
    for _ in 0..3 * JOBS {
        events.next().await;
    }
    let meter = Meter::begin(&server);
    let mut ages = Vec::new();
    while meter.elapsed() < STRETCH {
        let (_, row) = events.next().await;
        let number: usize = row["job"]["name"].as_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
        let step: usize = row["job"]["progress"]["watermark_step"].as_str().unwrap().parse().unwrap();
        // A row is stale from the first report that it lacks; its content is as old as the acknowledgement of its
        // newest report.
        if let Some(time) = reported[number].lock().unwrap().get(step / 5) {
            ages.push(time.elapsed().as_secs_f64());
        }
    }
    let watched = meter.cores();
    ages.sort_unstable_by(f64::total_cmp);
    println!(
        "{JOBS} busy jobs: rows {:.2} s old in the median, {:.2} s at the 99th percentile, {:.2} s at most ({} rows); \
         {alone:.2} cores without anyone who looks, {watched:.2} with",
        ages[ages.len() / 2],
        ages[ages.len() * 99 / 100],
        ages[ages.len() - 1],
        ages.len()
    );
    let resident = resident_mib(&server);
    let mut watchers = Vec::new();
    for _ in 0..10 {
        watchers.push(tokio::spawn({
            let mut events = Events::open(&server, "/v1/fleet:watch").await;
            async move {
                loop {
                    events.next().await;
                }
            }
        }));
    }
    all_report(REPORTS).await;
    println!("resident: {resident:.0} MiB with one who watches, {:.0} MiB with ten more", resident_mib(&server));
    watchers.iter().for_each(tokio::task::JoinHandle::abort);
}

/// The time to compute the outlook and the telemetry of a long history, whole and zoomed.
pub async fn outlook() {
    const STEPS: i64 = 1_000_000;
    let server = Server::sqlite().await;
    let (job, mut stream) = train(&server, "long", spec(0.1)).await;
    for first in (0..STEPS).step_by(10_000) {
        at_rate(&mut stream, first..first + 10_000, 0.1).await;
    }
    let ask = async |what: &str, path: &str| {
        let begun = Instant::now();
        json(&server, &format!("/v1/{job}/{path}")).await;
        println!("{what}: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    };
    ask("outlook, first", &format!("outlook?start_step=0&end_step={STEPS}&points=500")).await;
    ask("outlook, zoomed to a tenth", "outlook?start_step=400000&end_step=500000&points=500").await;
    ask("outlook, zoomed to a thousandth", "outlook?start_step=450000&end_step=451000&points=500").await;
    at_rate(&mut stream, STEPS..STEPS + 1000, 0.1).await;
    ask("outlook, after 1000 further steps", &format!("outlook?start_step=0&end_step={STEPS}&points=500")).await;
    ask("telemetry, whole", "telemetry?max_points=1600").await;
    ask("telemetry, a tenth", "telemetry?start_step=400000&end_step=500000&max_points=1600").await;
    ask("telemetry, a thousandth", "telemetry?start_step=450000&end_step=451000&max_points=1600").await;
    println!("resident: {:.0} MiB", resident_mib(&server));
}
