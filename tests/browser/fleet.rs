//! The fleet's page, by mouse and by keyboard: every job, with those that need attention first.

use fantoccini::key::Key;

use crate::{
    browser::Browser,
    scene::{page, train},
    server::{Server, spec, spec_json},
};

/// The names of the rows that exist, from the top.
const NAMES: &str =
    "[...document.querySelectorAll('#rows [role=row][data-name]')].map((row) => row.querySelector('a').textContent)";

fn shows(names: &[&str]) -> String {
    format!("JSON.stringify({NAMES}) === JSON.stringify({})", serde_json::json!(names))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_listed_with_its_figures_and_those_that_need_attention_come_first() {
    let server = Server::sqlite().await;
    let mut calm = train(&server, "a-calm", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000}"#).await;
    calm.report((0..250).map(|step| 2.0 - 0.004 * f64::from(step))).await;
    let mut wild = train(&server, "b-wild", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000}"#).await;
    wild.report((0..100).map(|step| if step < 90 { 1.0 } else { f64::NAN })).await;
    let browser = Browser::start().await;

    browser.open(&server, "/").await;

    browser.until("the diverging job to come first", &shows(&["b-wild", "a-calm"])).await;
    let row = browser.text("#rows [data-name$='/a-calm']").await;
    for figure in ["a-calm", "test · running", "fine", "249 of 1\u{202f}000", "1.004", "0.1"] {
        assert!(row.contains(figure), "{figure} is not in {row:?}");
    }
    assert!(
        browser.number("document.querySelectorAll('#rows [data-name$=\"/a-calm\"] svg.spark path').length").await > 0.0
    );
    assert!(browser.text("#rows [data-name$='/b-wild']").await.contains("diverging"));
    assert!(browser.text("#attention").await.contains("b-wild"), "what needs attention is said above the table");
    assert_eq!(browser.text("#tiles [data-health=DIVERGING] strong").await, "1");
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn search_filter_and_order_are_kept_in_the_address() {
    let server = Server::sqlite().await;
    for (id, base_lr) in [("alpha", 0.3), ("beta", 0.1), ("gamma", 0.2)] {
        train(&server, id, &format!(r#"{{"groups": [{{"base_lr": {base_lr}}}]}}"#)).await;
    }
    train(&server, "delta", r#"{"groups": [{"base_lr": 0.4}], "labels": {"team": "vision"}}"#).await;
    let browser = Browser::start().await;
    browser.open(&server, "/").await;
    browser.until("all jobs", &format!("{NAMES}.length === 4")).await;

    browser.click("#head [data-order=rate] button").await;
    browser.until("the order by rate", &shows(&["beta", "gamma", "alpha", "delta"])).await;
    browser.click("#head [data-order=rate] button").await;
    browser.until("the other way round", &shows(&["delta", "alpha", "gamma", "beta"])).await;
    assert_eq!(browser.location().await, "/?order=rate+desc");

    browser.enter("#search", "a team=vision").await;
    browser.until("only the label's job", &shows(&["delta"])).await;
    assert_eq!(browser.text("#shown").await, "1 of 4 jobs");
    browser.enter("#search", " ").await;
    browser.click("#state option[value=running]").await;
    browser.click("#tiles [data-health=WAITING]").await;
    browser.until("those that run and have not reported", &shows(&["delta", "alpha", "gamma", "beta"])).await;
    assert_eq!(
        browser.string("document.querySelector('#tiles [data-health=WAITING]').getAttribute('aria-pressed')").await,
        "true"
    );

    let link = browser.location().await;
    browser.open(&server, "/").await;
    browser.open(&server, &link).await;
    browser.until("the link to show the same", &shows(&["delta", "alpha", "gamma", "beta"])).await;
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_jobs_cost_only_the_rows_that_are_seen_and_those_that_change() {
    let server = Server::sqlite().await;
    for index in 0..400 {
        server.register(&format!("job-{index:03}"), spec(0.1)).await;
    }
    let mut busy = train(&server, "a-busy", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000}"#).await;
    let browser = Browser::start().await;
    browser.open(&server, "/?order=name").await;
    browser.until("all jobs to be known", "document.getElementById('shown').textContent === '401 jobs'").await;

    assert!(browser.number("document.querySelectorAll('#rows [role=row]').length").await < 60.0);
    assert_eq!(browser.string("document.getElementById('table').getAttribute('aria-rowcount')").await, "402");
    browser
        .value(
            "window.drawn = [], new MutationObserver((changes) => changes.forEach(({ target }) => \
             drawn.push(target.closest('[data-name]')?.dataset.name))).observe(document.getElementById('rows'), \
             { childList: true, subtree: true, characterData: true })",
        )
        .await;
    busy.report([0.5; 10]).await;
    browser
        .until("the new step", "document.querySelector('#rows [data-name$=\"/a-busy\"]').textContent.includes('9 of')")
        .await;
    let others = "drawn.filter((name) => name && !name.endsWith('/a-busy')).length";
    assert_eq!(browser.value(others).await, 0, "rows that did not change were drawn again");

    browser.value("scrollTo(0, document.body.scrollHeight)").await;
    browser.until("the last job", &format!("{NAMES}.includes('job-399') && !{NAMES}.includes('job-100')")).await;
    assert!(browser.number("document.querySelectorAll('#rows [role=row]').length").await < 60.0);
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keyboard_searches_walks_selects_and_opens() {
    let server = Server::sqlite().await;
    for id in ["one", "three", "two"] {
        server.register(id, spec(0.1)).await;
    }
    let browser = Browser::start().await;
    browser.open(&server, "/?order=name").await;
    browser.until("all jobs", &format!("{NAMES}.length === 3")).await;

    browser.press("/").await;
    assert_eq!(browser.string("document.activeElement.id").await, "search");
    browser.press_key(Key::Down).await;
    assert_eq!(browser.string("document.activeElement.textContent").await, "one");
    browser.press("x").await;
    browser.press_key(Key::Down).await;
    browser.press("x").await;
    assert_eq!(browser.text("#compare").await, "Compare 2");
    assert_ne!(
        browser.string("getComputedStyle(document.activeElement).outlineStyle").await,
        "none",
        "the focus is seen"
    );
    browser.press_key(Key::Enter).await;

    browser.until("the job's page", "location.pathname === '/jobs/test/three'").await;
    assert_eq!(browser.location().await, page("three"));
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_jobs_appear_and_deleted_ones_go_by_themselves() {
    let server = Server::sqlite().await;
    let browser = Browser::start().await;
    browser.open(&server, "/").await;
    assert!(browser.text("#rows").await.contains("No jobs yet"));

    server.register("new", spec_json(r#"{"groups": [{"base_lr": 0.1}]}"#)).await;
    browser.until("the new job", &shows(&["new"])).await;
    let (status, _) = server.http_request("DELETE", "/v1/namespaces/test/jobs/new?force=true", "").await;
    assert_eq!(status, 200);
    browser.until("it to go", &format!("{NAMES}.length === 0")).await;
    browser.finish().await;
}
