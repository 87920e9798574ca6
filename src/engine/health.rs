//! How a job fares, from what it reported lately: for people who look, never for a decision.

use crate::{
    engine::api::JobView,
    model::job::State,
    stats::{
        linear::{mean, neighbour_correlation},
        number,
        order::median_and_mad,
        rank::{mann_kendall, theil_sen},
    },
};

/// In the order of what needs attention first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The loss is far above what it was, or not finite.
    Diverging,
    /// The trainer has not been heard of for a while.
    Stale,
    /// The loss does not fall any more.
    Plateau,
    /// The trainer uses other rates than it was told: it has lost the server, or was never joined to it.
    OnPlan,
    /// Nothing of the above.
    Fine,
    /// Paused by a person.
    Paused,
    /// No trainer has reported yet.
    Waiting,
    /// Ended: went wrong.
    Failed,
    /// Ended otherwise.
    Ended,
}

/// A verdict and the reason for it in words; empty where the verdict says it all.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What it is.
    pub verdict: Verdict,
    /// Why, with figures.
    pub reason: String,
}

/// A stretch of steps in which the loss did not fall.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// Its first step.
    pub from: u64,
    /// Its last step.
    pub to: u64,
    /// The figures, in words.
    pub reason: String,
}

/// What was reported of the last steps.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Steps, rising.
    pub steps: Vec<u64>,
    /// The loss of each.
    pub losses: Vec<f64>,
    /// Of the newest reports with a rate, how many were at another rate than told, and how many there are.
    pub off_told: (usize, usize),
}

/// Losses that a divergence is seen in.
const NEWEST: usize = 16;
/// Robust deviations above the median before.
const DEVIATIONS: f64 = 8.0;
/// Blocks that a plateau is looked for in.
const BLOCKS: usize = 64;
/// Losses that are looked at for what is going on now.
const LOOKED_AT: usize = 512;
/// Steps below which nothing is said about a trend.
const FEWEST: usize = 256;
/// In standard deviations: above this there is no downward trend. As `statistical_plateau` has it.
const Z: f64 = -2.0;

/// The health of a job.
#[must_use]
pub fn of(view: &JobView, recent: &Recent) -> Health {
    let (verdict, reason) = match view.row.state {
        State::Failed => (Verdict::Failed, view.row.state_reason.clone()),
        State::Completed | State::Cancelled => (Verdict::Ended, view.row.state_reason.clone()),
        State::Paused => (Verdict::Paused, view.row.state_reason.clone()),
        State::Pending => (Verdict::Waiting, "no trainer has begun yet".to_owned()),
        State::Running if view.stale => {
            let heard = view.progress.as_ref().and_then(|progress| progress.report_time);
            let since = heard.map_or_else(|| "the server started".to_owned(), |time| time.to_string());
            (Verdict::Stale, format!("nothing heard of the trainer since {since}"))
        }
        State::Running if recent.losses.is_empty() => (Verdict::Waiting, "nothing reported yet".to_owned()),
        State::Running => running(recent),
    };
    Health { verdict, reason }
}

fn running(recent: &Recent) -> (Verdict, String) {
    if let Some(reason) = divergence(&recent.losses) {
        return (Verdict::Diverging, reason);
    }
    let (off, reports) = recent.off_told;
    if reports > 0 && 2 * off > reports {
        return (Verdict::OnPlan, format!("{off} of the last {reports} steps ran at another rate than told"));
    }
    match standstill(&recent.steps, &recent.losses) {
        Some(stretch) => (Verdict::Plateau, stretch.reason),
        None => (Verdict::Fine, String::new()),
    }
}

/// The last 512 losses as one stretch, if they do not fall.
fn standstill(steps: &[u64], losses: &[f64]) -> Option<Stretch> {
    let finite = finite(steps, losses);
    let newest = &finite[finite.len().saturating_sub(LOOKED_AT)..];
    if newest.len() < FEWEST {
        return None;
    }
    let blocks = blocks(newest, newest.len() / BLOCKS);
    (z(&means(&blocks)) > Z).then(|| describe(&blocks))
}

fn divergence(losses: &[f64]) -> Option<String> {
    let (before, newest) = losses.split_at(losses.len().saturating_sub(NEWEST));
    let broken = newest.iter().filter(|loss| !loss.is_finite()).count();
    if broken > 0 {
        return Some(format!("{broken} of the last {} losses are not finite", newest.len()));
    }
    let before: Vec<f64> = before.iter().copied().filter(|loss| loss.is_finite()).collect();
    if before.len() < NEWEST {
        return None;
    }
    let (usual, spread) = median_and_mad(&before);
    let (now, _) = median_and_mad(newest);
    let deviation = (1.4826 * spread).max(1e-3 * usual.abs());
    let above = (now - usual) / deviation;
    (above > DEVIATIONS)
        .then(|| format!("loss {now:.4}, {above:.0} robust deviations above its median before, {usual:.4}"))
}

/// The stretches of a series in which the loss did not fall: Mann and Kendall's test over windows of 64 block means, with the threshold of two
/// deviations and the allowance for correlated neighbours of `statistical_plateau`.
#[must_use]
pub fn plateaus(steps: &[u64], losses: &[f64]) -> Vec<Stretch> {
    let finite = finite(steps, losses);
    let (Some(&(first, _)), Some(&(last, _))) = (finite.first(), finite.last()) else { return Vec::new() };
    let span = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
    // A window has at least 256 steps and, of a long run, an eighth of it.
    let block = (FEWEST * finite.len()).div_ceil(BLOCKS * span).max(finite.len().div_ceil(8 * BLOCKS));
    let blocks = blocks(&finite, block);
    let mut flat: Vec<(usize, usize)> = Vec::new(); // places of blocks, the end open
    let stride = BLOCKS / 8;
    let mut end = BLOCKS;
    while end <= blocks.len() {
        if z(&means(&blocks[end - BLOCKS..end])) > Z {
            match flat.last_mut() {
                Some(before) if before.1 >= end - BLOCKS => before.1 = end,
                _ => flat.push((end - BLOCKS, end)),
            }
        }
        // The last window ends with the series.
        end = if end == blocks.len() { end + 1 } else { (end + stride).min(blocks.len()) };
    }
    flat.into_iter().map(|(from, to)| describe(&blocks[from..to])).collect()
}

/// First step, last step and mean loss.
type Block = (u64, u64, f64);

fn finite(steps: &[u64], losses: &[f64]) -> Vec<(u64, f64)> {
    steps.iter().copied().zip(losses.iter().copied()).filter(|(_, loss)| loss.is_finite()).collect()
}

fn blocks(series: &[(u64, f64)], size: usize) -> Vec<Block> {
    let block = |chunk: &[(u64, f64)]| {
        let losses: Vec<f64> = chunk.iter().map(|(_, loss)| *loss).collect();
        (chunk[0].0, chunk[chunk.len() - 1].0, mean(&losses))
    };
    series.chunks(size.max(1)).map(block).collect()
}

fn means(blocks: &[Block]) -> Vec<f64> {
    blocks.iter().map(|(_, _, mean)| *mean).collect()
}

/// The test's figure, below 0 for a falling series; 0 where all values are the same.
fn z(values: &[f64]) -> f64 {
    let Some(test) = mann_kendall(values) else { return 0.0 };
    let correlation = neighbour_correlation(values, mean(values)).clamp(0.0, 0.9);
    test.signed().signum() * (test.z2() * (1.0 - correlation) / (1.0 + correlation)).sqrt()
}

fn describe(blocks: &[Block]) -> Stretch {
    let (from, to) = (blocks[0].0, blocks[blocks.len() - 1].1);
    let thin = blocks.len().div_ceil(2 * BLOCKS);
    let values: Vec<f64> = blocks.iter().step_by(thin).map(|(_, _, mean)| *mean).collect();
    let steps_a_place = number(usize::try_from(to - from).unwrap_or(usize::MAX)) / number(values.len().max(2) - 1);
    let slope = theil_sen(&values).map_or(0.0, |trend| trend.slope / steps_a_place);
    let reason = format!(
        "loss flat for {} steps: Mann–Kendall z = {:.1}, slope {slope:.0e} per step",
        to - from + 1,
        z(&values)
    );
    Stretch { from, to, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(n: u64) -> Vec<u64> {
        (0..n).collect()
    }

    /// Numbers without a pattern in [-0.5, 0.5), the same in every run.
    fn noise(seed: u32, step: u32) -> f64 {
        let mut bits = (u64::from(seed) << 32 | u64::from(step)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from(bits >> 40).unwrap()) / f64::from(1 << 24) - 0.5
    }

    #[test]
    fn a_falling_loss_has_no_plateau() {
        let losses: Vec<f64> = (0..1000).map(|step| 3.0 - 0.002 * f64::from(step) + 0.05 * noise(1, step)).collect();
        assert_eq!(plateaus(&steps(1000), &losses), []);
    }

    #[test]
    fn the_flat_end_of_a_loss_is_a_plateau_with_its_figures() {
        let losses: Vec<f64> =
            (0..2000).map(|step| 3.0 - 0.002 * f64::from(step.min(1000)) + 0.05 * noise(1, step)).collect();
        let found = plateaus(&steps(2000), &losses);
        let last = found.last().unwrap();
        assert!(last.to == 1999 && (850..1300).contains(&last.from), "{found:?}");
        assert!(
            last.reason.starts_with("loss flat for ") && last.reason.contains("Mann–Kendall z = "),
            "{}",
            last.reason
        );
    }

    #[test]
    fn noise_around_a_level_stands_still_and_a_fall_as_wide_as_the_noise_does_not() {
        let still = |slope: f64| {
            let loss = |seed, step| 1.0 - slope * f64::from(step) + noise(seed, step);
            let losses = |seed| -> Vec<f64> { (0..512).map(|step| loss(seed, step)).collect() };
            (0..400).filter(|&seed| standstill(&steps(512), &losses(seed)).is_some()).count()
        };
        // By chance one of 44 looks like a fall of two deviations.
        assert!((380..=398).contains(&still(0.0)), "{}", still(0.0));
        assert_eq!(still(1.0 / 512.0), 0);
    }

    #[test]
    fn too_few_steps_say_nothing() {
        assert_eq!(standstill(&steps(200), &[1.0; 200]), None);
        assert_eq!(plateaus(&steps(200), &[1.0; 200]), []);
        assert_eq!(plateaus(&[], &[]), []);
        assert_eq!(plateaus(&steps(500), &[f64::NAN; 500]), []);
    }

    #[test]
    fn a_loss_far_above_what_it_was_diverges() {
        let mut losses: Vec<f64> = (0..200).map(|step| 1.0 + 0.05 * noise(1, step)).collect();
        assert_eq!(divergence(&losses), None);
        losses.extend([9.0; 16]);
        assert!(divergence(&losses).unwrap().contains("robust deviations above"));
        losses.push(f64::NAN);
        assert_eq!(divergence(&losses).unwrap(), "1 of the last 16 losses are not finite");
    }
}
