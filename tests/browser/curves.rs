//! The charts of a job's page.

use fantoccini::key::Key;

use crate::{
    browser::Browser,
    scene::{Report, Training, falling, noise, page, train},
    server::Server,
};

/// A job with two groups whose controller cuts the rates when the evaluation stops improving.
const PLATEAU: &str = r#"{
    "groups": [{"name": "backbone", "base_lr": 0.1}, {"name": "head", "base_lr": 0.2}],
    "total_steps": 2000, "steps_per_epoch": 100, "schedule": {"warmup": {"warmup_steps": 100, "schedule": {"cosine": {}}}},
    "controllers": [{"reduce_lr_on_plateau": {"metric": "val_loss", "patience": 2, "factor": 0.5}}]
}"#;

/// A training whose evaluation stops improving at step 400.
async fn plateau(server: &Server, id: &str) -> Training {
    let mut training = train(server, id, PLATEAU).await;
    let report = |step: i64| Report {
        loss: falling(1, step, 150.0, 0.4),
        grad_norm: Some(falling(2, step, 300.0, 0.8)),
        learning_rate: Some(0.1),
        val_loss: (step % 100 == 99).then(|| falling(3, step.min(400), 200.0, 0.5)),
    };
    training.report((0..1200).map(report)).await;
    training
}

/// The names of the lines in a panel.
fn lines(panel: &str) -> String {
    format!(
        "document.getElementById('chart').data.filter((trace) => trace.meta === '{panel}').map((trace) => trace.name).join('|')"
    )
}

async fn chart(browser: &Browser, expression: &str) -> serde_json::Value {
    browser.value(&format!("((chart) => {expression})(document.getElementById('chart'))")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_norm_rate_and_metrics_share_one_axis_and_its_zoom_and_hover() {
    let server = Server::sqlite().await;
    plateau(&server, "shared").await;
    let browser = Browser::start().await;
    browser.open(&server, &page("shared")).await;

    assert_eq!(browser.string(&lines("loss")).await, "loss|smoothed|robust trend");
    assert_eq!(browser.string(&lines("rate")).await, "backbone|backbone, planned|head|head, planned");
    assert_eq!(browser.string(&lines("grad_norm")).await, "gradient norm");
    assert_eq!(browser.string(&lines("metric:val_loss")).await, "val_loss");
    assert_eq!(chart(&browser, "new Set(chart.data.map((trace) => trace.xaxis)).size").await, 1);
    assert_eq!(chart(&browser, "chart.layout.hoversubplots + ' ' + chart.layout.hovermode").await, "axis x unified");

    // The applied rate ends where the planned one begins, and the plan goes on to the end.
    let groups = "(name) => chart.data.find((trace) => trace.name === name).x";
    let ends = chart(&browser, &format!("[({groups})('backbone').at(-1), ({groups})('backbone, planned')[0], ({groups})('backbone, planned').at(-1)]")).await;
    let ends: Vec<f64> = serde_json::from_value(ends).unwrap();
    assert!(
        ends[0] >= 1190.0 && ends[1] >= ends[0] - 1.0 && ends[1] <= ends[0] + 80.0 && ends[2] >= 1990.0,
        "{ends:?}"
    );
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_marked_with_their_evidence_in_words_and_lead_to_the_log() {
    let server = Server::sqlite().await;
    plateau(&server, "decided").await;
    let browser = Browser::start().await;
    browser.open(&server, &page("decided")).await;

    browser.until("a decision in the log", "document.querySelector('#log [data-kind=cut]')").await;
    let mark = chart(&browser, "chart.data.find((trace) => trace.name === 'rate lowered').text[0]").await;
    let mark = mark.as_str().unwrap().replace("<br>", " ");
    assert!(mark.contains("reduce lr on plateau") && mark.contains("did not improve"), "{mark}");
    let entry = browser.text("#log [data-kind=cut]").await;
    assert!(entry.contains("Rate") && entry.contains("val_loss did not improve"), "{entry}");
    assert!(
        chart(&browser, "chart.layout.shapes.filter((shape) => shape.type === 'line').length").await.as_u64() > Some(0)
    );
    browser
        .value(
            "document.getElementById('chart').emit('plotly_click', {points: [{customdata: \
             document.querySelector('#log [data-kind=cut]').dataset.name}]})",
        )
        .await;
    assert_eq!(browser.value("document.querySelectorAll('#log [aria-current=true]').length").await, 1);
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stretches_that_stand_still_or_ran_on_the_plan_are_shaded_and_said_in_words() {
    let server = Server::sqlite().await;
    let mut training = train(&server, "still", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 3000}"#).await;
    let report = |step: i64| Report {
        loss: falling(1, step.min(1000), 250.0, 0.4) + 0.02 * noise(5, step),
        // The server is away for a while, and the trainer goes on with the rate that it has.
        learning_rate: Some(if (400..500).contains(&step) { 0.05 } else { 0.1 }),
        ..Report::default()
    };
    training.report((0..2500).map(report)).await;
    let browser = Browser::start().await;
    browser.open(&server, &page("still")).await;

    assert!(browser.text("#verdict").await.starts_with("plateau"));
    let reason = browser.text("#verdict").await;
    assert!(
        reason.contains("loss flat for ") && reason.contains("Mann–Kendall z = ") && reason.contains("per step"),
        "{reason}"
    );
    let bands = chart(
        &browser,
        "chart.layout.shapes.filter((shape) => shape.type === 'rect').map((shape) => [shape.x0, shape.x1])",
    )
    .await;
    let bands: Vec<[f64; 2]> = serde_json::from_value(bands).unwrap();
    assert!(
        bands.iter().any(|[from, to]| (700.0..1500.0).contains(from) && *to > 2490.0),
        "a plateau to the end: {bands:?}"
    );
    assert!(bands.contains(&[400.0, 499.0]), "steps on the plan: {bands:?}");
    assert!(browser.text("#legend").await.contains("ran on the plan"));
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_test_has_a_chart_of_its_own() {
    let server = Server::sqlite().await;
    let spec = r#"{"groups": [{"base_lr": 0.1}], "controllers": [{"range_test": {"start_lr": 0.0001, "end_lr": 1, "rates": 20}}]}"#;
    let mut training = train(&server, "tested", spec).await;
    training
        .report((0..40).map(|step| {
            2.0 - 0.05 * f64::from(step.min(14)) + if step > 16 { 0.3 * f64::from(step - 16) } else { 0.0 }
        }))
        .await;
    let browser = Browser::start().await;
    browser.open(&server, &page("tested")).await;

    browser.until("the chart", "document.getElementById('test-chart').data?.length === 2").await;
    let test = "document.getElementById('test-chart')";
    assert!(browser.number(&format!("{test}.data[0].x.length")).await >= 10.0);
    assert_eq!(browser.string(&format!("{test}.layout.xaxis.type")).await, "log");
    assert!(browser.text("#test-words").await.contains("valley"), "{}", browser.text("#test-words").await);
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_is_marked_and_the_older_attempt_can_be_looked_at() {
    let server = Server::sqlite().await;
    let mut first = train(&server, "rewound", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 400}"#).await;
    first.report((0..200).map(|step| if step < 150 { 1.0 } else { 9.0 })).await;
    let mut second = Training::begin(&server, first.job.clone(), "again", 150).await;
    second.report([0.5; 100]).await;
    let browser = Browser::start().await;
    browser.open(&server, &page("rewound")).await;

    assert!(browser.text("#attempts").await.contains("went on from step 150 of attempt 1"));
    let largest = "Math.max(...chart.data.find((trace) => trace.name === 'loss').y)";
    assert_eq!(chart(&browser, largest).await, 1.0);
    let rewind = "chart.layout.shapes.some((shape) => shape.line.dash === 'longdash' && shape.x0 === 150)";
    assert_eq!(chart(&browser, rewind).await, true);

    browser.click("#attempt option[value='1']").await;
    browser
        .until("the first attempt's loss", &format!("((chart) => {largest} === 9)(document.getElementById('chart'))"))
        .await;
    assert_eq!(browser.location().await, format!("{}?attempt=1", page("rewound")));
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn axes_scales_smoothing_and_zoom_are_kept_in_the_address() {
    let server = Server::sqlite().await;
    plateau(&server, "kept").await;
    let browser = Browser::start().await;
    browser.open(&server, &page("kept")).await;

    browser.click("#log-loss").await;
    browser.click("#log-rate").await;
    browser.click("#units [data-unit=epoch]").await;
    browser.value("((slider) => { slider.value = 0.5; slider.dispatchEvent(new Event('input')); })(document.getElementById('smoothing'))").await;
    browser.value("Plotly.relayout('chart', {'xaxis.range[0]': 3, 'xaxis.range[1]': 5})").await;
    browser.until("the zoom in steps", "location.search.includes('from=300&to=500')").await;
    let link = browser.location().await;
    assert_eq!(link, format!("{}?axis=epoch&from=300&to=500&smooth=0.5&log=loss%2Crate", page("kept")));

    browser.open(&server, "/").await;
    browser.open(&server, &link).await;
    assert_eq!(chart(&browser, "chart.layout.xaxis.range.join()").await, "3,5");
    assert_eq!(chart(&browser, "[chart.layout.yaxis2.type, chart.layout.yaxis3.type].join()").await, "log,log");
    let within = "chart.data.find((trace) => trace.name === 'loss').x.every((x) => x >= 2.9 && x <= 5.1)";
    browser.until("only what is in view", &format!("((chart) => {within})(document.getElementById('chart'))")).await;

    // By keyboard: zoom out, and show everything.
    browser.value("document.getElementById('chart').focus()").await;
    browser.press("+").await;
    browser.until("a nearer look", "location.search.includes('from=350&to=450')").await;
    browser.press_key(Key::Right).await;
    browser.until("a look further on", "location.search.includes('from=375&to=475')").await;
    browser.press("0").await;
    browser.until("the whole run", "!location.search.includes('from')").await;

    browser.click("#units [data-unit=time]").await;
    browser.until("the axis of time", "document.getElementById('chart').layout.xaxis.type === 'date'").await;
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spike_in_a_million_steps_is_seen_at_every_zoom_and_the_page_stays_small() {
    const SPIKE: i64 = 734_112;
    let server = Server::sqlite().await;
    let mut training = train(&server, "long", r#"{"groups": [{"base_lr": 0.1}], "total_steps": 1000000}"#).await;
    training.report((0..1_000_000).map(|step| if step == SPIKE { 77.0 } else { 1.0 })).await;
    let browser = Browser::start().await;

    for (from, to) in [(0, 1_000_000), (700_000, 800_000), (734_000, 734_300), (734_100, 734_120)] {
        browser.open(&server, &format!("{}?from={from}&to={to}", page("long"))).await;
        let spike = "chart.data.find((trace) => trace.name === 'loss')";
        let seen = chart(&browser, &format!("(({{x, y}}) => x[y.indexOf(77)])({spike})")).await;
        assert_eq!(seen, SPIKE, "from {from} to {to}");
        let points = chart(&browser, "Math.max(...chart.data.map((trace) => trace.x.length))").await;
        assert!(points.as_u64().unwrap() <= 2500, "{points} points");
    }
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_seen_can_be_downloaded() {
    let server = Server::sqlite().await;
    plateau(&server, "taken").await;
    let browser = Browser::start().await;
    browser.open(&server, &format!("{}?from=100&to=199", page("taken"))).await;

    browser.click("#csv").await;
    let csv = String::from_utf8(browser.download("taken.csv").await).unwrap();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!((rows[0], rows.len()), ("step,loss,grad_norm,learning_rate,val_loss", 101));
    assert!(rows[1].starts_with("100,") && rows[1].ends_with(",0.1,") && rows[100].starts_with("199,"), "{csv}");
    browser.click("#png").await;
    let png = browser.download("taken.png").await;
    assert!(png.starts_with(b"\x89PNG") && png.len() > 10_000);
    browser.finish().await;
}
