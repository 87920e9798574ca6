//! Axe-core checks every page, in both themes, wide and narrow, with and without a dialog.

use std::process::Command;

use crate::{
    browser::{Browser, Theme},
    pictures::{COMPARISON, EXPERIMENT_REPORT, FLEET, JOB, JOB_REPORT, REPORTS, gallery},
    server::Server,
};

/// The source of axe-core, which `scripts/axe-core.sh` installs if it is not there.
fn axe() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/axe-core.sh");
    let found = Command::new(script).output().unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let path = String::from_utf8(found.stdout).unwrap();
    std::fs::read_to_string(path.trim()).unwrap()
}

/// The serious and critical faults of the page, one line for each.
async fn faults(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run_async(&format!("{axe}; done(null);")).await;
    let found = browser
        .run_async(
            "axe.run(document, {resultTypes: ['violations']}).then(({violations}) => done(violations \
             .filter(({impact}) => impact === 'serious' || impact === 'critical') \
             .flatMap(({id, nodes}) => nodes.map(({html, failureSummary}) => id + ': ' + html.slice(0, 200) + ': ' + failureSummary))))",
        )
        .await;
    serde_json::from_value(found).expect("axe's answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_has_a_serious_fault_in_either_theme_and_at_either_width() {
    let server = Server::sqlite().await;
    gallery(&server).await;
    let axe = axe();
    let browser = Browser::start().await;
    let mut all = Vec::new();
    for theme in [Theme::Light, Theme::Dark] {
        browser.prefer(theme).await;
        for (width, height) in [(1280, 900), (390, 844)] {
            browser.size(width, height).await;
            for page in [FLEET, JOB, COMPARISON, REPORTS, EXPERIMENT_REPORT, JOB_REPORT] {
                browser.open(&server, page).await;
                all.extend(
                    faults(&browser, &axe).await.into_iter().map(|fault| format!("{page} {theme:?} {width}: {fault}")),
                );
                let overflow =
                    browser.number("document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
                assert!(overflow <= 0.0, "{page} at {width} is {overflow} pixels too wide");
            }
            browser.open(&server, JOB).await;
            browser.click("#orders [data-order=override]").await;
            browser.until("the dialog", "document.getElementById('order').open").await;
            all.extend(
                faults(&browser, &axe).await.into_iter().map(|fault| format!("dialog {theme:?} {width}: {fault}")),
            );
        }
    }
    assert_eq!(all, Vec::<String>::new());
    browser.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_theme_follows_the_system_until_one_is_chosen() {
    let server = Server::sqlite().await;
    let browser = Browser::start().await;
    browser.open(&server, "/").await;
    let theme = "document.documentElement.dataset.theme";
    assert_eq!(browser.string(theme).await, "light");
    browser.prefer(Theme::Dark).await;
    browser.until("the dark side", &format!("{theme} === 'dark'")).await;
    browser.click("#theme").await;
    assert_eq!(browser.string(theme).await, "light");
    browser.open(&server, "/compare").await;
    assert_eq!(browser.string(theme).await, "light", "the choice is remembered");
    browser.finish().await;
}
