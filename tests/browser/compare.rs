//! The page that compares several jobs.

use crate::{
    browser::Browser,
    scene::{Report, falling, train},
    server::Server,
};

/// Two arms of two seeds; the scheduled arm ends lower.
pub async fn experiment(server: &Server) {
    for (arm, floor) in [("SCHEDULED", 0.1), ("BASELINE", 0.5)] {
        for seed in 0..2 {
            let spec = format!(
                r#"{{"groups": [{{"base_lr": 0.1}}], "total_steps": 600, "steps_per_epoch": 60, "experiment": "digits",
                     "arm": "ARM_{arm}", "seed": {seed}, "objective": {{"metric": "val_loss"}}}}"#
            );
            let id = format!("{}-{seed}", arm.to_lowercase());
            let mut training = train(server, &id, &spec).await;
            let report = |step: i64| Report {
                loss: falling(seed, step, 120.0, floor),
                val_loss: (step % 60 == 59).then(|| falling(seed + 9, step, 120.0, floor) + 0.1),
                ..Report::default()
            };
            training.report((0..600).map(report)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_is_laid_over_with_a_colour_for_each_arm_and_a_dash_for_each_job() {
    let server = Server::sqlite().await;
    experiment(&server).await;
    let browser = Browser::start().await;
    browser.open(&server, "/compare").await;

    browser.click("#experiment option[value=digits]").await;
    browser.until("four lines", "document.getElementById('chart').data?.length === 4").await;

    let looks = "document.getElementById('chart').data.map((trace) => [trace.name, trace.line.color, trace.line.dash])";
    let looks: Vec<[String; 3]> = serde_json::from_value(browser.value(looks).await).unwrap();
    let look =
        |name: &str| looks.iter().find(|look| look[0] == name).unwrap_or_else(|| panic!("no {name} in {looks:?}"));
    assert_eq!(look("scheduled-0")[1], look("scheduled-1")[1]);
    assert_ne!(look("scheduled-0")[1], look("baseline-0")[1]);
    assert_ne!(look("scheduled-0")[2], look("scheduled-1")[2]);
    let best = browser.string("document.querySelector('#rows tr[data-best]').dataset.name").await;
    assert!(best.contains("/scheduled-"), "{best}");
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_aligned_by_step_epoch_or_time_and_the_best_so_far_never_rises() {
    let server = Server::sqlite().await;
    experiment(&server).await;
    let browser = Browser::start().await;
    browser.open(&server, "/compare?job=namespaces/test/jobs/scheduled-0&job=namespaces/test/jobs/baseline-1").await;
    browser.until("two lines", "document.getElementById('chart').data?.length === 2").await;
    let last = "Math.round(document.getElementById('chart').data[0].x.at(-1))";
    assert!((590.0..600.0).contains(&browser.number(last).await));

    browser.click("#units [data-unit=epoch]").await;
    browser.until("epochs", &format!("{last} === 10")).await;
    browser.click("#units [data-unit=time]").await;
    browser.until("minutes", "document.getElementById('chart').layout.xaxis.title.text.startsWith('minutes')").await;
    assert!(browser.number("document.getElementById('chart').data[0].x[0]").await < 0.01);

    browser.click("#metric option[value=val_loss]").await;
    browser.click("#best").await;
    browser.until("the best so far", "document.getElementById('chart').data[0].x.length === 10").await;
    let falls = "document.getElementById('chart').data.every(({y}) => y.every((value, index) => index === 0 || value <= y[index - 1]))";
    assert_eq!(browser.value(falls).await, true);
    let link = browser.location().await;
    assert!(link.contains("metric=val_loss") && link.contains("axis=time") && link.contains("best=yes"), "{link}");

    browser.enter("#job", "test/baseline-0\n").await;
    browser.until("a third line", "document.getElementById('chart').data.length === 3").await;
    browser.click("#rows tr[data-name$='/baseline-1'] button").await;
    browser.until("two again", "document.getElementById('chart').data.length === 2").await;
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_not_there_is_named_and_the_others_are_shown() {
    let server = Server::sqlite().await;
    let mut training = train(&server, "there", r#"{"groups": [{"base_lr": 0.1}]}"#).await;
    training.report([1.0; 30]).await;
    let mut browser = Browser::start().await;
    browser.allow_error("404 (Not Found)");
    browser.open(&server, "/compare?job=namespaces/test/jobs/there&job=namespaces/test/jobs/gone").await;
    assert!(browser.text("#problem").await.contains("test/gone: there is no such job"));
    assert_eq!(browser.value("document.getElementById('chart').data.length").await, 1);
    browser.finish().await;
}
