//! A page that stays open shows new data, and does not grow.

use crate::{
    browser::Browser,
    scene::{page, train},
    server::Server,
};

const LAST: &str = "document.getElementById('chart').data.find((trace) => trace.name === 'loss').x.at(-1)";

#[tokio::test(flavor = "multi_thread")]
async fn new_points_and_decisions_are_drawn_as_they_come() {
    let server = Server::sqlite().await;
    let mut training = train(&server, "growing", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000}"#).await;
    training.report([1.0; 10]).await;
    let browser = Browser::start().await;
    browser.open(&server, &page("growing")).await;
    browser.until("the first points", &format!("{LAST} === 9")).await;

    for last in [19, 29, 39] {
        training.report([0.9; 10]).await;
        browser.until("the new points", &format!("{LAST} === {last}")).await;
        browser.until("the step", &format!("document.getElementById('facts').textContent.includes('{last}of')")).await;
    }
    let order = r#"{"set": {"factor": 0.5}, "reason": "by someone else"}"#;
    server.http_request("POST", "/v1/namespaces/test/jobs/growing:override", order).await;
    browser.until("the decision", "document.getElementById('log').textContent.includes('by someone else')").await;
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_left_open_keeps_a_bounded_number_of_points() {
    let server = Server::sqlite().await;
    let mut training = train(&server, "endless", r#"{"groups": [{"base_lr": 0.1}]}"#).await;
    training.report([1.0; 1000]).await;
    let browser = Browser::start().await;
    browser.open(&server, &page("endless")).await;

    for batch in 1..=20 {
        training.report((0..1000).map(|step| f64::from(step % 7))).await;
        let last = (batch + 1) * 1000 - 1;
        browser.until("the newest point", &format!("{LAST} === {last}")).await;
        let points =
            browser.number("Math.max(...document.getElementById('chart').data.map((trace) => trace.x.length))").await;
        assert!(points <= 3600.0, "{points} points after step {last}");
    }
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_looks_at_rests_and_catches_up() {
    let server = Server::sqlite().await;
    let mut training = train(&server, "hidden", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000}"#).await;
    training.report([1.0; 10]).await;
    let browser = Browser::start().await;
    browser.open(&server, &page("hidden")).await;
    browser.until("the first points", &format!("{LAST} === 9")).await;

    let look = |hidden: bool| {
        format!(
            "(Object.defineProperty(document, 'hidden', {{configurable: true, get: () => {hidden}}}), \
             document.dispatchEvent(new Event('visibilitychange')))"
        )
    };
    browser.value(&look(true)).await;
    browser.until("the page to rest", "document.getElementById('link').textContent === 'paused'").await;
    training.report([0.5; 10]).await;
    assert_eq!(browser.value(LAST).await, 9);

    browser.value(&look(false)).await;
    browser.until("what was missed", &format!("{LAST} === 19")).await;
    browser.finish().await;
}
