//! The cost and the freshness of the monitor, measured in a browser.

use std::time::Duration;

use lrs_runtime::clock::{Clock as _, SystemClock};
use serde_json::json;

use crate::{
    browser::Browser,
    meter::{Meter, resident_mib},
    scene::{Report, Training, falling, page, train},
    server::Server,
};

/// Counts the events that a page receives and the times that it draws; injected before the page's own scripts run.
const COUNT: &str = "
    window.heard = 0;
    window.draws = [];
    const Source = window.EventSource;
    window.EventSource = class extends Source {
      addEventListener(name, handle) { super.addEventListener(name, (event) => { window.heard += 1; handle(event); }); }
    };
    addEventListener('DOMContentLoaded', () => {
      const chart = document.getElementById('chart');
      new MutationObserver(() => {
        if (!chart.on || chart.dataset.counted) return;
        chart.dataset.counted = 'yes';
        chart.on('plotly_afterplot', () => {
          const last = chart.data.find((trace) => trace.name === 'loss')?.x.at(-1);
          window.drawn = (window.drawn ?? 0) + 1;
          window.draws.push([last, Date.now()]);
          if (window.draws.length > 100) window.draws.shift();
        });
      }).observe(chart, {childList: true, subtree: true, attributes: true});
    });
";

async fn opened(server: &Server, job: &str) -> Browser {
    let browser = Browser::start().await;
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": COUNT})).await;
    browser.open(server, &page(job)).await;
    browser.until("the page to be live", "document.getElementById('link').dataset.link === 'live'").await;
    browser
}

fn now_ms() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit")]
    let micros = SystemClock.now().0 as f64;
    micros / 1000.0
}

fn report(step: i64) -> Report {
    Report {
        loss: falling(1, step % 10_000, 3000.0, 0.4),
        grad_norm: Some(falling(2, step % 10_000, 3000.0, 0.7)),
        learning_rate: Some(0.1),
        val_loss: None,
    }
}

/// The time from the acknowledgement of a point until it is drawn.
pub async fn freshness() {
    const POINTS: u64 = 60;
    let server = Server::sqlite().await;
    let mut training = train(&server, "fresh", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 20000}"#).await;
    training.report((0..5000).map(report)).await;
    let browser = opened(&server, "fresh").await;
    let mut delays = Vec::new();
    for point in 0..POINTS {
        // Out of step with the page's own pauses.
        tokio::time::sleep(Duration::from_millis(300 + point * 137 % 900)).await;
        let step = 5000 + i64::try_from(point).unwrap();
        training.report([report(step)]).await;
        let acknowledged = now_ms();
        browser.until("the point", &format!("window.draws.some(([last]) => last >= {step})")).await;
        let drawn = browser.number(&format!("window.draws.find(([last]) => last >= {step})[1]")).await;
        delays.push(drawn - acknowledged);
    }
    delays.sort_by(f64::total_cmp);
    let at = |share: usize| delays[(delays.len() - 1) * share / 100];
    println!("a point is drawn after, ms: median {:.0}, p90 {:.0}, worst {:.0} of {POINTS}", at(50), at(90), at(100));
    browser.finish().await;
}

struct Size {
    heap_mib: f64,
    listeners: f64,
    nodes: f64,
}

/// The size of the page after garbage collection.
async fn size(browser: &Browser) -> Size {
    for _ in 0..2 {
        browser.devtools("HeapProfiler.collectGarbage", json!({})).await;
    }
    let answer = browser.devtools("Performance.getMetrics", json!({})).await;
    let metric = |name: &str| {
        let metrics = answer["metrics"].as_array().unwrap();
        metrics.iter().find(|metric| metric["name"] == name).unwrap()["value"].as_f64().unwrap()
    };
    Size {
        heap_mib: metric("JSHeapUsedSize") / f64::from(1 << 20),
        listeners: metric("JSEventListeners"),
        nodes: metric("Nodes"),
    }
}

/// Reports steps one by one, as a trainer does, but as fast as the server accepts them.
async fn feed(training: &mut Training, first: i64, steps: i64) {
    const AHEAD: i64 = 40;
    for step in first..first + steps {
        let one = report(step);
        let request = lrs_proto::StreamTelemetryRequest {
            step: vec![step],
            loss: vec![one.loss],
            grad_norm: one.grad_norm.into_iter().collect(),
            learning_rate: one.learning_rate.into_iter().collect(),
            through_step: Some(step),
            ..Default::default()
        };
        training.stream.send(request).await;
        training.stream.directives.clear();
        training.stream.until_durable(step - AHEAD).await;
    }
    training.stream.until_durable(first + steps - 1).await;
}

/// How much a page grows in a day, at one step a second.
pub async fn day() {
    const DAY: i64 = 86_400;
    const PARTS: i64 = 12;
    let server = Server::sqlite().await;
    let mut training = train(&server, "day", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 100000}"#).await;
    feed(&mut training, 0, 3000).await;
    let browser = opened(&server, "day").await;
    browser.devtools("Performance.enable", json!({})).await;
    browser.devtools("HeapProfiler.enable", json!({})).await;
    let begun = now_ms();
    let mut sizes = vec![size(&browser).await];
    for part in 0..PARTS {
        feed(&mut training, 3000 + part * (DAY / PARTS), DAY / PARTS).await;
        let now = size(&browser).await;
        let [heard, drawn] = [browser.number("window.heard").await, browser.number("window.drawn ?? 0").await];
        println!(
            "after {} updates, {:.0} s: {heard} events heard, {drawn} times drawn; heap {:.1} MiB, {} listeners, {} nodes",
            (part + 1) * (DAY / PARTS),
            (now_ms() - begun) / 1000.0,
            now.heap_mib,
            now.listeners,
            now.nodes
        );
        sizes.push(now);
    }
    // While the page draws, both the old chart's parts and the new chart's exist.
    let least = |sizes: &[Size], what: fn(&Size) -> f64| sizes.iter().map(what).fold(f64::INFINITY, f64::min);
    for (what, of, more) in [
        ("MiB", (|size| size.heap_mib) as fn(&Size) -> f64, 3.0),
        ("listeners", |size| size.listeners, 5.0),
        ("nodes", |size| size.nodes, 50.0),
    ] {
        let (early, late) = (least(&sizes[1..5], of), least(&sizes[sizes.len() - 4..], of));
        assert!(late < early + more, "{early} {what} became {late}");
    }
    browser.finish().await;
}

/// The server's cost of open pages, as tabs of one window or as visible windows.
pub async fn viewers(as_tabs: bool) {
    const SECONDS: i64 = 20;
    const A_SECOND: i64 = 10;
    let server = Server::sqlite().await;
    let mut training = train(&server, "watched", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 20000}"#).await;
    training.report((0..5000).map(report)).await;
    // A browser has six connections to a server for all its windows, and each visible window keeps one.
    let most = if as_tabs { 10 } else { 5 };
    let browsers = [Browser::start().await, Browser::start().await];
    let mut next = 5000;
    let what = if as_tabs { "tabs" } else { "windows" };
    let mut open = 0;
    for wanted in [0, 1, 5, 10] {
        while open < wanted {
            let browser = &browsers[open / most];
            if open % most > 0 {
                browser.another(as_tabs).await;
            }
            browser.open(&server, &page("watched")).await;
            open += 1;
        }
        let meter = Meter::begin(&server);
        let mut ticks = tokio::time::interval(Duration::from_millis(1000 / A_SECOND.unsigned_abs()));
        for _ in 0..SECONDS * A_SECOND {
            ticks.tick().await;
            training.report([report(next)]).await;
            next += 1;
        }
        let (share, held) = (100.0 * meter.cores(), resident_mib(&server));
        println!("{wanted} {what}: {share:.1}% of a core, {held:.0} MiB, {A_SECOND} steps a second");
    }
    for browser in browsers {
        browser.finish().await;
    }
}
