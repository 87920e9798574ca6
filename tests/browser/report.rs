//! The audit report as a page: of an experiment and of a job, from finding it to printing it.

use fantoccini::key::Key;
use lrs_proto::{Arm, CompleteJobRequest};
use serde_json::{Value, json};

use crate::{
    browser::{Browser, Theme},
    scene::{Report, Training, noise, number, page, train, train_under},
    server::{Server, spec_json},
};

const EXPERIMENT: &str = "/reports?experiment=namespaces/test/experiments/warmup";
const STEPS: i64 = 600;
/// A script that runs if a page reads it as markup.
const MARKUP: &str = "<img/src=x/onerror=window.broken=1>";

/// The step from which training stands still, and the step at which the rate is lowered, after seven evaluations
/// without progress.
const STANDS: i64 = 200;
const LOWERED: i64 = 360;

/// A job of an experiment, trained to its end. Lowering the rate, as the scheduled arm does, reaches a lower loss.
async fn member(server: &Server, arm: &str, seed: u32, spec: Value) -> Training {
    let is_scheduled = arm == "SCHEDULED";
    let mut whole = json!({
        "groups": [{"base_lr": 0.1}], "total_steps": STEPS, "experiment": "warmup", "arm": format!("ARM_{arm}"), "seed": seed,
        "objective": {"metric": "val_loss", "target": 0.68}, "labels": {"gpus": "4"},
    });
    if is_scheduled {
        whole["controllers"] = json!([{"reduce_lr_on_plateau": {"metric": "val_loss", "factor": 0.5, "patience": 6}}]);
    }
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let id = format!("{}-{seed}", arm.to_lowercase());
    let mut training = train_under(server, &id, serde_json::from_value(whole).unwrap()).await;
    let gain = if is_scheduled { 0.25 } else { 0.06 };
    let own = 0.015 * noise(u64::from(seed) + if is_scheduled { 40 } else { 60 }, 0);
    let level = |step: i64| {
        let fallen = |steps: i64| libm::exp(-number(steps) / 60.0);
        0.55 + 1.9 * fallen(step.min(STANDS)) - gain * (1.0 - fallen((step - LOWERED).max(0))) + own
    };
    let report = |step: i64| Report {
        loss: level(step) * (1.0 + 0.06 * noise(seed.into(), step)),
        learning_rate: Some(if is_scheduled && step >= LOWERED { 0.05 } else { 0.1 }),
        val_loss: (step % 20 == 19).then(|| level(step) + 0.1),
        ..Report::default()
    };
    training.report((0..STEPS).map(report)).await;
    training
}

async fn complete(server: &Server, job: &str) {
    let request =
        CompleteJobRequest { name: job.to_owned(), reason: "trained to its end".to_owned(), ..Default::default() };
    server.jobs().await.complete_job(request).await.unwrap();
}

/// Both arms of an experiment with `seeds` seeds; all jobs have ended.
async fn experiment(server: &Server, seeds: u32) {
    for seed in 0..seeds {
        for arm in ["SCHEDULED", "BASELINE"] {
            let training = member(server, arm, seed, json!({})).await;
            complete(server, &training.job).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_says_its_verdict_in_words_and_then_shows_the_arms_the_seeds_and_the_decisions() {
    let server = Server::sqlite().await;
    experiment(&server, 6).await;
    let browser = Browser::start().await;
    browser.open(&server, EXPERIMENT).await;

    assert!(browser.text("h1").await.contains("warmup"));
    let answer = browser.text("#answer").await;
    assert!(answer.contains("Evidence for the scheduled arm") && answer.contains("val_loss"), "{answer}");
    assert!(browser.text("#savings").await.contains("6 seeds"), "{answer}");
    let first = "document.querySelector('#body > :first-child').id";
    assert_eq!(browser.string(first).await, "answer", "the verdict comes first");
    assert_eq!(browser.value("document.getElementById('pairs').data.length").await, 6);
    assert!(browser.number("document.getElementById('forest').data[0].error_x.array.length").await >= 4.0);
    assert_eq!(browser.value("document.getElementById('plateaus').data[0].x.length").await, 12);
    assert_eq!(browser.value("document.querySelectorAll('.curves .chart').length").await, 3);
    assert_eq!(browser.value("document.querySelectorAll('[aria-label=\"The jobs\"] tbody tr').length").await, 12);
    assert!(browser.number("document.getElementById('slopes').data.length").await >= 2.0);
    assert!(browser.text("#decision-counts").await.contains("by controllers"));
    assert!(browser.text(".figures").await.contains("GPU h"));
    let overflow = browser.number("document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
    assert!(overflow <= 0.0, "{overflow} pixels too wide");

    // Open a job's report from the table of jobs, by keyboard.
    browser.value("document.querySelector('[aria-label=\"The jobs\"] tbody a').focus()").await;
    browser.press_key(Key::Enter).await;
    browser
        .until("the job's report", "location.search.includes('job=') && document.body.dataset.ready === 'true'")
        .await;
    assert!(browser.text("#answer").await.contains("600 of 600 steps and completed"));
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_keeps_the_view_and_another_target_is_asked_of_the_server() {
    let server = Server::sqlite().await;
    experiment(&server, 2).await;
    let browser = Browser::start().await;
    browser.open(&server, EXPERIMENT).await;
    let own = browser.text("#savings").await;
    assert!(browser.text("#target-words").await.contains("As the specs say"));

    browser.click("#measure option[value=mean_loss]").await;
    browser.click("#log").await;
    browser.enter("#target", "1.4\n").await;
    browser.until("the other target", "document.getElementById('title').textContent.includes('target 1.4')").await;

    let link = browser.location().await;
    assert!(link.contains("target=1.4") && link.contains("measure=mean_loss") && link.contains("log=yes"), "{link}");
    assert_ne!(browser.text("#savings").await, own);
    browser.open(&server, &link).await;
    assert_eq!(browser.string("document.getElementById('measure').value").await, "mean_loss");
    assert_eq!(browser.string("document.getElementById('target').value").await, "1.4");
    assert_eq!(browser.string("document.querySelector('.curves .chart').layout.yaxis.type").await, "log");
    assert!(browser.string("document.getElementById('pairs').layout.yaxis.title.text").await.contains("mean"));

    browser.click("#own-target").await;
    browser
        .until("the specs' own", &format!("document.getElementById('savings').textContent === {}", json!(own)))
        .await;
    assert!(!browser.location().await.contains("target="));
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_downloaded_as_a_page_as_text_and_as_json_and_printed_without_what_is_for_the_screen() {
    let server = Server::sqlite().await;
    experiment(&server, 1).await;
    let browser = Browser::start().await;
    browser.open(&server, &format!("{EXPERIMENT}&target=1.4")).await;

    browser.click("#as-json").await;
    let report: Value = serde_json::from_slice(&browser.download("warmup.json").await).unwrap();
    assert_eq!(report["comparison"]["objective"]["target"], json!(1.4), "of the view that is seen");
    browser.click("#as-markdown").await;
    assert!(String::from_utf8(browser.download("warmup.md").await).unwrap().starts_with("# warmup"));
    browser.click("#as-html").await;
    assert!(browser.download("warmup.html").await.starts_with(b"<!DOCTYPE html>"));
    assert!(browser.text("#answer").await.contains("One seed is an example"));

    browser.devtools("Emulation.setEmulatedMedia", json!({"media": "print"})).await;
    assert_eq!(browser.string("getComputedStyle(document.querySelector('.top')).display").await, "none");
    assert_eq!(browser.string("getComputedStyle(document.querySelector('.actions')).display").await, "none");
    browser.prefer(Theme::Dark).await;
    let is_dark = "document.documentElement.dataset.theme === 'dark'";
    browser.until("the dark theme", is_dark).await;
    let printed = browser.devtools("Page.printToPDF", json!({"printBackground": true})).await;
    assert!(printed["data"].as_str().unwrap().len() > 20_000);
    assert_eq!(browser.value("document.querySelector('details').open").await, true, "on paper all is open");
    browser.until("the theme of before the printing", is_dark).await;
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_s_report_is_a_step_from_its_page_and_says_what_each_decision_did() {
    let server = Server::sqlite().await;
    let training = member(&server, "SCHEDULED", 3, json!({})).await;
    complete(&server, &training.job).await;
    let browser = Browser::start().await;
    browser.open(&server, &page("scheduled-3")).await;

    browser.click("#orders a[href^='/reports']").await;
    browser.until("the report", "document.getElementById('slopes')?.data").await;

    let answer = browser.text("#answer").await;
    assert!(
        answer.contains("The target of 0.68 was reached after") && answer.contains("The rate was changed"),
        "{answer}"
    );
    let decisions = browser.text("[aria-label='Decisions, and what the loss did']").await;
    assert!(decisions.contains("0.1 → 0.05") && decisions.contains("fell faster"), "{decisions}");
    assert!(browser.number("document.querySelector('#curve-0').layout.shapes.length").await >= 1.0);
    assert!(browser.text(".figures").await.contains("wall time"));
    browser.click(".actions a[href^='/jobs/']").await;
    browser.until("the job's page", "location.pathname.startsWith('/jobs/')").await;
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_jobs_that_still_train_says_so_and_is_made_anew_when_they_end() {
    let server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 0.1}], "total_steps": 500}"#;
    let mut training = train(&server, "going", spec).await;
    training.report([1.0; 100]).await;
    let browser = Browser::start().await;
    browser.open(&server, "/reports?job=namespaces/test/jobs/going").await;
    assert!(browser.text("#running").await.contains("This job has not ended: it is running."));
    assert!(browser.text("#answer").await.contains("Has trained 100 of 500 steps and is running"));

    training.report([0.9; 50]).await;
    browser.until("the news", "document.getElementById('running').textContent.includes('50 more steps')").await;
    browser.click("#remake").await;
    browser.until("the new report", "document.getElementById('answer').textContent.includes('150 of 500')").await;
    training.report([0.8; 50]).await;
    complete(&server, &training.job).await;
    browser
        .until(
            "the last report",
            "document.getElementById('answer').textContent.includes('Trained 200 of 500 steps and completed')",
        )
        .await;
    assert_eq!(browser.value("document.getElementById('running').hidden").await, true);
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unlike_is_listed_with_the_reason_and_what_is_empty_is_said_to_be() {
    let server = Server::sqlite().await;
    experiment(&server, 2).await;
    let training =
        member(&server, "BASELINE", 7, json!({"objective": {"metric": "accuracy", "mode": "MODE_MAX"}})).await;
    complete(&server, &training.job).await;
    let training = member(&server, "SCHEDULED", 8, json!({})).await;
    complete(&server, &training.job).await;
    server
        .register(
            "idle",
            spec_json(r#"{"groups": [{"base_lr": 0.1}], "experiment": "new", "arm": "ARM_SCHEDULED", "seed": 0}"#),
        )
        .await;
    let browser = Browser::start().await;

    browser.open(&server, EXPERIMENT).await;
    let unlike = browser.text("#unlike").await;
    assert!(unlike.contains("baseline-7") && unlike.contains("accuracy"), "{unlike}");
    assert!(unlike.contains("seed 8") && unlike.contains("no baseline job"), "{unlike}");

    browser.open(&server, "/reports?experiment=namespaces/test/experiments/new").await;
    assert!(browser.text("#answer").await.contains("Nothing to compare"));
    assert!(browser.text("#running").await.contains("1 of 1 jobs has not ended: idle."));
    browser.open(&server, "/reports?job=namespaces/test/jobs/idle").await;
    assert!(browser.text("#answer").await.contains("Nothing has been reported yet"));
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_nothing_is_said_to_be_missing() {
    let server = Server::sqlite().await;
    let mut browser = Browser::start().await;
    browser.allow_error("404 (Not Found)");
    browser.allow_error("400 (Bad Request)");
    for (path, words) in [
        ("/reports?job=namespaces/test/jobs/gone", ["There is no such job", "test/gone"]),
        ("/reports?experiment=namespaces/test/experiments/a/b%20c", ["There is no such experiment", "test/a/b c"]),
    ] {
        browser.open(&server, path).await;
        let text = browser.text("#main").await;
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
    browser.open(&server, "/reports?experiment=nonsense").await;
    assert!(browser.text("#problem").await.contains("namespace"));
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_leaves_the_report_as_it_was_and_it_goes_on_when_the_server_is_back() {
    let mut server = Server::sqlite().await;
    let mut training = train(&server, "kept", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000}"#).await;
    training.report([1.0; 50]).await;
    let mut browser = Browser::start().await;
    for error in [
        "ERR_CONNECTION_REFUSED",
        "ERR_INCOMPLETE_CHUNKED_ENCODING",
        "ERR_CONNECTION_RESET",
        "503 (Service Unavailable)",
    ] {
        browser.allow_error(error);
    }
    browser.open(&server, "/reports?job=namespaces/test/jobs/kept").await;
    browser.until("the page to be live", "document.getElementById('link').dataset.link === 'live'").await;

    server.kill();
    browser.until("the notice", "!document.getElementById('away').hidden").await;
    assert!(browser.text("#answer").await.contains("50 of"), "what was known stays");
    server.start_again().await;
    browser.until("the page to be live again", "document.getElementById('away').hidden").await;
    let mut again = Training::begin(&server, training.job.clone(), "second", 50).await;
    again.report([0.5; 7]).await;
    complete(&server, &training.job).await;
    browser
        .until("what happened since", "document.getElementById('answer').textContent.includes('Trained 57 of')")
        .await;
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn experiments_are_found_in_the_list_by_name_and_from_the_comparison() {
    let server = Server::sqlite().await;
    let browser = Browser::start().await;
    browser.open(&server, "/").await;
    browser.click("header nav a[href='/reports']").await;
    browser.until("the list", "document.body.dataset.ready === 'true' && location.pathname === '/reports'").await;
    assert!(browser.text("#none").await.contains("No experiments yet"));

    experiment(&server, 1).await;
    server
        .register(
            "other",
            spec_json(r#"{"groups": [{"base_lr": 0.1}], "experiment": "cifar / 10", "arm": "ARM_BASELINE"}"#),
        )
        .await;
    browser.until("both, live", "document.querySelectorAll('#experiments tr').length === 2").await;
    browser.until("their states", "document.getElementById('experiments').textContent.includes('2 completed')").await;
    let text = browser.text("#experiments").await;
    assert!(text.contains("1 scheduled, 1 baseline"), "{text}");
    browser.enter("#search", "cif").await;
    browser.until("one", "document.querySelectorAll('#experiments tr').length === 1").await;
    assert!(browser.location().await.contains("search=cif"));
    browser.click("#experiments th a").await;
    browser.until("its report", "document.getElementById('answer')").await;
    assert_eq!(browser.text("h1").await, "cifar / 10");

    browser.open(&server, "/compare?experiment=warmup").await;
    browser.click("#reports a").await;
    browser.until("the report", "location.pathname === '/reports' && document.getElementById('answer')").await;
    browser.open(&server, "/reports").await;
    browser.enter("#job", "test/baseline-0\n").await;
    browser
        .until("the job's report", "location.search.includes('baseline-0') && document.getElementById('answer')")
        .await;
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_in_any_word_of_a_report_stays_text() {
    let server = Server::sqlite().await;
    let mut spec = spec_json(
        r#"{"groups": [{"base_lr": 0.1}], "total_steps": 60, "seed": 1, "objective": {"metric": "loss", "target": 1.0}}"#,
    );
    spec.display_name = MARKUP.to_owned();
    spec.experiment = MARKUP.to_owned();
    spec.objective.as_mut().unwrap().metric = MARKUP.to_owned();
    for (id, arm) in [("hostile-a", Arm::Scheduled), ("hostile-b", Arm::Baseline)] {
        spec.arm = arm.into();
        let mut training = train_under(&server, id, spec.clone()).await;
        training.report([2.0; 20]).await;
        let order = json!({"set": {"factor": 0.5}, "reason": MARKUP, "author": MARKUP}).to_string();
        let (status, _) = server.http_request("POST", &format!("/v1/namespaces/test/jobs/{id}:override"), &order).await;
        assert_eq!(status, 200);
        let step: Vec<i64> = (20..60).collect();
        let metrics =
            vec![lrs_proto::MetricSeries { name: MARKUP.to_owned(), step: step.clone(), value: vec![0.5; 40] }];
        let request = lrs_proto::StreamTelemetryRequest {
            step,
            loss: vec![1.0; 40],
            metrics,
            through_step: Some(59),
            ..Default::default()
        };
        training.stream.send(request).await;
        training.stream.until_durable(59).await;
        complete(&server, &training.job).await;
    }
    let browser = Browser::start().await;
    browser.open(&server, "/reports").await;
    browser.until("the experiment", "document.querySelector('#experiments a')").await;
    assert_eq!(browser.text("#experiments th a").await, MARKUP);
    unbroken(&browser).await;
    browser.click("#experiments th a").await;
    browser.until("the report", "document.getElementById('pairs')?.data").await;
    assert!(browser.text("#answer").await.contains(MARKUP));
    unbroken(&browser).await;
    browser.open(&server, "/reports?job=namespaces/test/jobs/hostile-a").await;
    assert_eq!(browser.text("#title").await, MARKUP);
    assert!(browser.text("[aria-label='Decisions, and what the loss did']").await.contains(MARKUP));
    unbroken(&browser).await;
    browser.finish().await;
}

async fn unbroken(browser: &Browser) {
    assert_eq!(browser.value("window.broken === undefined").await, true);
    assert_eq!(browser.value("document.querySelectorAll('img').length").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reports_are_pictured_light_dark_and_narrow() {
    let server = Server::sqlite().await;
    experiment(&server, 6).await;
    let browser = Browser::start().await;
    for (name, path, height) in [
        ("report", EXPERIMENT, 3300),
        ("report-job", "/reports?job=namespaces/test/jobs/scheduled-3", 1700),
        ("reports", "/reports", 500),
    ] {
        for (look, theme, width, factor) in
            [("light", Theme::Light, 1280, 1), ("dark", Theme::Dark, 1280, 1), ("narrow", Theme::Light, 390, 2)]
        {
            browser.prefer(theme).await;
            browser.size(width, height * factor).await;
            browser.open(&server, path).await;
            let picture = browser.screenshot(&format!("{name}-{look}")).await;
            assert!(std::fs::metadata(picture).unwrap().len() > 8_000);
        }
    }
    browser.prefer(Theme::Light).await;
    browser.size(1280, 900).await;
    browser.open(&server, EXPERIMENT).await;
    browser.screenshot("report-top").await;
    browser.finish().await;
}
