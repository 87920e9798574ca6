//! The outcome for people: a table of jobs, a table of arms, and a conclusion.

use std::fmt::Write as _;

use comfy_table::{Table, presets};

use super::{
    experiment::{NAMESPACE, TARGET_ACCURACY},
    outcome::{ArmOutcome, Outcome, Spread},
};

/// How to look further next time, as the server is gone.
pub const HOW_TO_KEEP: &str =
    "The private server is gone, and its data with it. `lrs demo --keep` leaves both up, to look further.";

/// The tables and the sentence.
pub fn render(outcome: &Outcome) -> String {
    let to_target = format!("steps to {TARGET_ACCURACY}");
    let mut jobs = new_table(&["job", "arm", "seed", &to_target, "final accuracy", "final loss", "decisions"]);
    for job in &outcome.jobs {
        jobs.add_row([
            job.name.clone(),
            job.arm.to_string(),
            job.seed.to_string(),
            job.steps_to_target.map_or_else(|| "never".to_owned(), |steps| steps.to_string()),
            format!("{:.4}", job.final_accuracy),
            format!("{:.4}", job.final_loss),
            job.decisions.to_string(),
        ]);
    }
    let mut arms = new_table(&["arm", "reached", &to_target, "final accuracy", "final loss", "decisions"]);
    for (name, arm) in [("scheduled", &outcome.arms.scheduled), ("baseline", &outcome.arms.baseline)] {
        arms.add_row(arm_row(name, arm));
    }
    format!("{jobs}\n\nMean and standard deviation over seeds:\n{arms}\n\n{}\n", conclusion(outcome))
}

/// How to ask a server about the demo's jobs.
pub fn where_to_look(grpc_url: &str, http_url: Option<&str>) -> String {
    let mut text = format!("To look further:\n  lrs job list --server {grpc_url}");
    if let Some(http_url) = http_url {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  curl {http_url}/v1/{NAMESPACE}/jobs");
    }
    text
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

fn arm_row(name: &str, arm: &ArmOutcome) -> [String; 6] {
    [
        name.to_owned(),
        format!("{} of {}", arm.reached_target, arm.jobs),
        spread(arm.steps_to_target, 0),
        spread(arm.final_accuracy, 4),
        spread(arm.final_loss, 4),
        arm.decisions.to_string(),
    ]
}

fn spread(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |Spread { mean, standard_deviation }| format!("{mean:.digits$} ± {standard_deviation:.digits$}"),
    )
}

/// What the figures show, and what they do not.
fn conclusion(outcome: &Outcome) -> String {
    let gains = outcome.accuracy_gains();
    let better = gains.iter().filter(|&&gain| gain > 0.0).count();
    format!(
        "Seed by seed, the scheduled run ended more accurate than the baseline in {better} of {} pairs, by {} on average.\n\
         That is what happened here, from a rate that was chosen too high on purpose. So few seeds prove little, and a\n\
         constant rate that somebody has tuned by hand does about as well on this small data set.",
        gains.len(),
        spread(Spread::of(&gains), 4),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::fixture;

    #[test]
    fn the_tables_have_every_job_and_both_arms() {
        let text = render(&fixture());
        for expected in
            ["digits-scheduled-0", "digits-baseline-2", "never", "3 of 3", "1 of 3", "0.9800 ± 0.0200", "200 ± 100"]
        {
            assert!(text.contains(expected), "{expected:?} is missing from\n{text}");
        }
    }

    #[test]
    fn the_conclusion_counts_pairs_that_got_better() {
        assert!(conclusion(&fixture()).contains("in 2 of 3 pairs, by 0.2333 ± 0.2558"), "{}", conclusion(&fixture()));
    }

    #[test]
    fn a_kept_server_can_be_asked_both_ways() {
        let text = where_to_look("http://127.0.0.1:1", Some("http://127.0.0.1:2"));
        assert!(text.contains("lrs job list --server http://127.0.0.1:1\n"));
        assert!(text.ends_with("curl http://127.0.0.1:2/v1/namespaces/demo/jobs"));
    }
}
