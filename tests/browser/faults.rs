//! The pages when something is missing; and text from outside, which they never read as markup.

use lrs_proto::{Arm, CompleteJobRequest, MetricSeries, StreamTelemetryRequest};

use crate::{
    browser::Browser,
    scene::{page, train, train_under},
    server::{Server, spec_json},
};

/// A script that runs if a page reads it as markup.
const MARKUP: &str = "<img/src=x/onerror=window.broken=1>";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_does_not_exist_is_said_to_be_missing() {
    let server = Server::sqlite().await;
    let mut browser = Browser::start().await;
    browser.allow_error("404 (Not Found)");
    browser.open(&server, "/jobs/test/nowhere").await;
    let text = browser.text("#main").await;
    assert!(text.contains("There is no such job") && text.contains("test/nowhere"), "{text}");
    browser.click("#main a.button").await;
    browser.until("the fleet", "location.pathname === '/'").await;
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_said_to_be_and_the_page_goes_on_when_it_is_back() {
    let mut server = Server::sqlite().await;
    let mut training = train(&server, "kept", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000}"#).await;
    training.report([1.0; 5]).await;
    let mut browser = Browser::start().await;
    browser.allow_error("ERR_CONNECTION_REFUSED");
    browser.allow_error("ERR_INCOMPLETE_CHUNKED_ENCODING");
    browser.allow_error("ERR_CONNECTION_RESET");
    // The server may still be reading its jobs.
    browser.allow_error("503 (Service Unavailable)");
    browser.open(&server, &page("kept")).await;
    browser.until("the page to be live", "document.getElementById('link').dataset.link === 'live'").await;

    server.kill();
    browser.until("the notice", "!document.getElementById('away').hidden").await;
    assert_eq!(browser.text("#link").await, "server away");
    assert!(browser.text("#away").await.contains("has not answered since"));
    assert!(browser.text("#facts").await.contains("of 1\u{202f}000"), "what was known stays");

    server.start_again().await;
    browser.until("the page to be live again", "document.getElementById('link').dataset.link === 'live'").await;
    assert_eq!(browser.value("document.getElementById('away').hidden").await, true);
    let mut again = crate::scene::Training::begin(&server, training.job.clone(), "second", 5).await;
    again.report([0.5; 7]).await;
    browser.until("what happened since", "document.getElementById('facts').textContent.includes('11of')").await;
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_in_any_word_from_outside_stays_text() {
    let server = Server::sqlite().await;
    let mut spec = spec_json(r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000, "steps_per_epoch": 10}"#);
    spec.display_name = MARKUP.to_owned();
    spec.experiment = MARKUP.to_owned();
    spec.arm = Arm::Scheduled.into();
    spec.labels = [("team".to_owned(), MARKUP.to_owned())].into();
    let mut training = train_under(&server, "hostile", spec).await;
    training.report((0..50).map(|step| 2.0 - 0.01 * f64::from(step))).await;
    let step: Vec<i64> = (50..60).collect();
    let metrics = vec![MetricSeries { name: MARKUP.to_owned(), step: step.clone(), value: vec![1.0; 10] }];
    let loss = vec![1.0; 10];
    training
        .stream
        .send(StreamTelemetryRequest { step, loss, metrics, through_step: Some(59), ..Default::default() })
        .await;
    training.stream.until_durable(59).await;
    let order = serde_json::json!({"set": {"factor": 0.5}, "reason": MARKUP, "author": MARKUP}).to_string();
    let (status, _) = server.http_request("POST", "/v1/namespaces/test/jobs/hostile:override", &order).await;
    assert_eq!(status, 200);
    let browser = Browser::start().await;

    browser.open(&server, "/").await;
    browser.until("the row", "document.querySelector('#rows [data-name]')").await;
    unbroken(&browser).await;
    browser.open(&server, &page("hostile")).await;
    assert!(browser.text("#log").await.contains(MARKUP), "the reason is shown as it was written");
    assert!(browser.text("#title").await.contains(MARKUP));
    browser
        .until("the metric's panel", &format!("document.getElementById('chart').textContent.includes('{MARKUP}')"))
        .await;
    unbroken(&browser).await;
    let end = CompleteJobRequest { name: training.job.clone(), reason: MARKUP.to_owned(), ..Default::default() };
    server.jobs().await.complete_job(end).await.unwrap();
    browser.until("the end", &format!("document.getElementById('facts').textContent.includes('{MARKUP}')")).await;
    unbroken(&browser).await;
    let query = serde_json::json!([MARKUP]);
    browser.open(&server, "/compare").await;
    browser
        .value(&format!("location.search = new URLSearchParams({{experiment: {query}[0], metric: {query}[0]}})"))
        .await;
    browser
        .until("the comparison", "document.body.dataset.ready === 'true' && document.querySelector('#rows tr')")
        .await;
    unbroken(&browser).await;
    browser.finish().await;
}

async fn unbroken(browser: &Browser) {
    assert_eq!(browser.value("window.broken === undefined").await, true);
    assert_eq!(browser.value("document.querySelectorAll('img').length").await, 0);
}
