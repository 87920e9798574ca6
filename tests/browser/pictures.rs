//! Pictures of the pages with everything that they can show, for `docs/dashboard.md` and for people to look at.

use lrs_proto::CompleteJobRequest;

use crate::{
    browser::{Browser, Theme},
    compare::experiment,
    scene::{Report, Training, falling, noise, number, page, train},
    server::Server,
};

/// The pages of the gallery.
pub const FLEET: &str = "/";
pub const JOB: &str = "/jobs/test/resnet50-imagenet";
pub const COMPARISON: &str = "/compare?experiment=digits";
pub const REPORTS: &str = "/reports";
pub const EXPERIMENT_REPORT: &str = "/reports?experiment=namespaces/test/experiments/digits";
pub const JOB_REPORT: &str = "/reports?job=namespaces/test/jobs/resnet50-imagenet";

const RESNET: &str = r#"{
    "display_name": "ResNet-50, batch 1024, ImageNet subset", "total_steps": 6000, "steps_per_epoch": 500,
    "groups": [{"name": "backbone", "base_lr": 0.4}, {"name": "head", "base_lr": 0.8}],
    "schedule": {"warmup": {"warmup_steps": 300, "schedule": {"base": 1}}},
    "controllers": [{"statistical_plateau": {}}], "objective": {"metric": "val_loss"}, "labels": {"team": "vision"}
}"#;

/// A fleet with jobs of every kind of health, and one with a long history.
pub async fn gallery(server: &Server) {
    resnet(server).await;
    experiment(server).await;
    let small = r#"{"groups": [{"base_lr": 0.001}], "total_steps": 2000}"#;
    let mut wild = train(server, "gpt-small-lr-too-high", small).await;
    wild.report(
        (0..300).map(|step| if step < 260 { falling(5, step, 90.0, 1.8) } else { 3.0 + 0.4 * number(step - 260) }),
    )
    .await;
    let mut paused = train(server, "vit-b16-finetune", small).await;
    paused.report((0..800).map(|step| falling(6, step, 200.0, 0.9))).await;
    let reason = r#"{"reason": "waiting for the new data", "author": "ada"}"#;
    server.http_request("POST", "/v1/namespaces/test/jobs/vit-b16-finetune:pause", reason).await;
    let mut done = train(server, "unet-medical", small).await;
    done.report((0..1500).map(|step| falling(7, step, 300.0, 0.2))).await;
    let end =
        CompleteJobRequest { name: done.job.clone(), reason: "trained to its end".to_owned(), ..Default::default() };
    server.jobs().await.complete_job(end).await.unwrap();
    for (id, index) in ["bert-base-mlm", "t5-small-sum", "wav2vec-de", "llama-lora-7b", "clip-rn50"].iter().zip(0_i64..)
    {
        let seed = 20 + index.unsigned_abs();
        let mut fine = train(server, id, small).await;
        let report = |step: i64| Report {
            loss: if index == 1 { falling(seed, step.min(250), 100.0, 1.2) } else { falling(seed, step, 400.0, 1.2) },
            learning_rate: Some(if index == 3 { 0.0005 } else { 0.001 }),
            ..Report::default()
        };
        fine.report((0..(400 + 300 * index)).map(report)).await;
    }
    server.register("stable-diffusion-ft", crate::server::spec_json(small)).await;
}

async fn resnet(server: &Server) -> Training {
    let mut training = train(server, "resnet50-imagenet", RESNET).await;
    let report = |step: i64| {
        let spike = if step == 2210 { 3.1 } else { 0.0 };
        Report {
            // Flat from step 1500 until the rate is lowered, and falling again after that.
            loss: falling(1, step.min(1500), 500.0, 1.1)
                - if step > 2600 { 0.3 * (1.0 - libm::exp(-number(step - 2600) / 300.0)) } else { 0.0 }
                + 0.1 * noise(4, step)
                + spike,
            grad_norm: Some(falling(2, step, 900.0, 0.7) + spike),
            // The server is away for a while, and the trainer goes on with its plan.
            learning_rate: (950..1100).contains(&step).then_some(0.2),
            val_loss: (step % 250 == 249).then(|| falling(3, step, 700.0, 1.2)),
        }
    };
    training.report((0..3000).map(report)).await;
    let order = r#"{"set": {"factor": 0.5, "end_step": "3600"}, "reason": "the loss spikes since the new data came", "author": "ada"}"#;
    server.http_request("POST", "/v1/namespaces/test/jobs/resnet50-imagenet:override", order).await;
    let mut training = Training::begin(server, training.job, "node failed", 2900).await;
    training.report((2900..3400).map(report)).await;
    training
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_are_pictured_light_dark_and_narrow() {
    let server = Server::sqlite().await;
    gallery(&server).await;
    let browser = Browser::start().await;
    for (name, path) in [("fleet", FLEET), ("job", JOB), ("compare", COMPARISON)] {
        for (look, theme, width, height) in
            [("light", Theme::Light, 1280, 900), ("dark", Theme::Dark, 1280, 900), ("narrow", Theme::Light, 390, 844)]
        {
            browser.prefer(theme).await;
            // Show all charts of a job.
            browser.size(width, if name == "job" { height + 250 } else { height }).await;
            browser.open(&server, path).await;
            let picture = browser.screenshot(&format!("{name}-{look}")).await;
            assert!(std::fs::metadata(picture).unwrap().len() > 10_000);
        }
    }
    browser.prefer(Theme::Light).await;
    browser.size(1280, 900).await;
    browser.open(&server, &page("resnet50-imagenet")).await;
    browser.click("#orders [data-order=override]").await;
    browser.until("the dialog", "document.getElementById('order').open").await;
    browser.screenshot("order").await;
    browser.finish().await;
}
