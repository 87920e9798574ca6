//! The orders that a person can give on a job's page.

use lrs_proto::{Decision, ListDecisionsRequest, decision::Effect, job::State, rate_override::Setting};

use crate::{
    browser::Browser,
    scene::{page, train},
    server::{Server, spec},
};

async fn decisions(server: &Server, job: &str) -> Vec<Decision> {
    let request = ListDecisionsRequest { job: job.to_owned(), ..Default::default() };
    server.jobs().await.list_decisions(request).await.unwrap().into_inner().decisions
}

/// The orders that the page offers.
async fn offered(browser: &Browser) -> String {
    browser
        .string("[...document.querySelectorAll('#orders button')].map((button) => button.dataset.order).join(' ')")
        .await
}

async fn give_reason(browser: &Browser, reason: &str) {
    browser.enter("#order textarea[name=reason]", reason).await;
    browser.click("#order-send").await;
    browser.until("the dialog to close", "!document.getElementById('order').open").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_says_the_job_and_the_first_step_before_and_is_logged_with_author_and_reason_after() {
    let server = Server::sqlite().await;
    let mut training = train(&server, "steered", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000}"#).await;
    training.report([1.0; 20]).await;
    for step in 0..=42 {
        server.final_rate(&training.job, 1, step).await;
    }
    let browser = Browser::start().await;
    browser.open(&server, &page("steered")).await;

    browser.click("#orders [data-order=override]").await;
    let confirmation = browser.text("#order-effect").await;
    let first =
        browser.number("Number(document.getElementById('order-effect').textContent.match(/step (\\d+) on/)[1])").await;
    assert!(confirmation.contains("test/steered") && first >= 43.0, "{confirmation}");
    browser.click("#order-send").await;
    assert!(decisions(&server, &training.job).await.is_empty(), "nothing is sent without a reason");

    browser.enter("#order input[name=factor]", "0.25").await;
    assert!(browser.text("#order-effect").await.contains("0.25 times"));
    browser.enter("#order input[name=author]", "ada").await;
    give_reason(&browser, "the loss <b>spikes</b>").await;

    let taken = decisions(&server, &training.job).await;
    let Some(Effect::RateOverride(order)) = &taken[0].effect else { panic!("{taken:?}") };
    assert_eq!(order.setting, Some(Setting::Factor(0.25)));
    browser.until("the log's entry", "document.querySelector('#log [data-kind=override]')").await;
    let entry = browser.text("#log [data-kind=override]").await;
    for part in
        ["0.25 times the schedule", "the loss <b>spikes</b>", "ada", &format!("from {} on", taken[0].effective_step)]
    {
        assert!(entry.contains(part), "{part} is not in {entry:?}");
    }
    assert!(browser.text("#done").await.contains(&format!("step {}", taken[0].effective_step)));
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_set_by_group_and_a_wrong_one_is_refused_in_words() {
    let server = Server::sqlite().await;
    let spec = r#"{"groups": [{"name": "backbone", "base_lr": 0.1}, {"name": "head", "base_lr": 0.2}]}"#;
    let training = train(&server, "grouped", spec).await;
    let browser = Browser::start().await;
    browser.open(&server, &page("grouped")).await;

    browser.click("#orders [data-order=override]").await;
    browser.click("#by-value").await;
    browser.enter("#order input[name='rate:head']", "-1").await;
    browser.enter("#order textarea[name=reason]", "a try").await;
    let mut browser = browser;
    browser.allow_error("400 (Bad Request)");
    browser.click("#order-send").await;
    browser.until("the complaint", "!document.getElementById('order-wrong').hidden").await;
    assert!(browser.text("#order-wrong").await.contains("head"), "{}", browser.text("#order-wrong").await);

    browser.enter("#order input[name='rate:head']", "0.05").await;
    give_reason(&browser, "a better try").await;
    let taken = decisions(&server, &training.job).await;
    let Some(Effect::RateOverride(order)) = &taken[0].effect else { panic!("{taken:?}") };
    let Some(Setting::Fixed(fixed)) = &order.setting else { panic!("{order:?}") };
    assert_eq!(fixed.learning_rates.iter().collect::<Vec<_>>(), [(&"head".to_owned(), &0.05)]);
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_job_can_do_is_offered_through_its_life() {
    let server = Server::sqlite().await;
    let mut training = train(&server, "life", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000}"#).await;
    training.report([1.0; 5]).await;
    let browser = Browser::start().await;
    browser.open(&server, &page("life")).await;
    assert_eq!(offered(&browser).await, "override pause complete");

    browser.click("#orders [data-order=pause]").await;
    give_reason(&browser, "the data is late").await;
    browser.until("resume in place of pause", "document.querySelector('#orders [data-order=resume]')").await;
    assert_eq!(offered(&browser).await, "override resume complete");

    browser.click("#orders [data-order=resume]").await;
    give_reason(&browser, "the data is here").await;
    browser.until("pause in place of resume", "document.querySelector('#orders [data-order=pause]')").await;

    browser.click("#orders [data-order=complete]").await;
    assert!(browser.text("#order-effect").await.contains("test/life will end"));
    browser.enter("#order input[name=author]", "ana").await;
    browser.click("#order option[value=STATE_FAILED]").await;
    give_reason(&browser, "it never learned").await;
    browser.until("no orders any more", "document.querySelectorAll('#orders button').length === 0").await;
    let job = server.jobs().await.get_job(lrs_proto::GetJobRequest { name: training.job.clone() }).await.unwrap();
    let job = job.into_inner();
    let found = (job.state(), job.state_author.as_str(), job.state_reason.as_str());
    assert_eq!(found, (State::Failed, "ana", "it never learned"));
    assert!(browser.text("#facts").await.contains("by ana: it never learned"));
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialog_that_is_left_by_escape_sends_nothing() {
    let server = Server::sqlite().await;
    server.register("untouched", spec(0.1)).await;
    let browser = Browser::start().await;
    browser.open(&server, &page("untouched")).await;

    browser.click("#orders [data-order=override]").await;
    browser.until("the dialog", "document.getElementById('order').open").await;
    browser.press_key(fantoccini::key::Key::Escape).await;
    browser.until("the dialog to close", "!document.getElementById('order').open").await;

    assert!(decisions(&server, "namespaces/test/jobs/untouched").await.is_empty());
    assert_eq!(browser.string("document.activeElement.dataset.order").await, "override", "the focus goes back");
    browser.finish().await;
}
