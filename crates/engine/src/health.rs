//! How a job fares, from its last losses: shown to people, never used for a decision.

use std::ops::RangeInclusive;

use crate::api::JobView;
use lrs_model::{
    job::{Idle, State},
    number::exact,
};
use lrs_stats::{Backend, MAX_WINDOW, Summary, Wanted, Windows, cpu::Cpu, linear::mean};

/// In the order of what needs attention first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HealthState {
    /// The loss is far above what it was, or not finite.
    Diverging,
    /// The trainer has not been heard of for a while.
    Stale,
    /// The loss does not fall any more.
    Plateau,
    /// The trainer uses other rates than it was told, or is told none: it has lost the server, or a rank that should
    /// report is missing.
    OnPlan,
    /// A controller does not get the metric that it needs.
    Blind,
    /// Nothing of the above.
    Fine,
    /// Paused by a person.
    Paused,
    /// No trainer has reported yet.
    Waiting,
    /// It has not ended, but has been idle for so long that nobody is expected to come back.
    Abandoned,
    /// Ended: went wrong.
    Failed,
    /// Ended otherwise.
    Ended,
}

impl HealthState {
    /// Every state.
    pub const ALL: [Self; 11] = [
        Self::Diverging,
        Self::Stale,
        Self::Plateau,
        Self::OnPlan,
        Self::Blind,
        Self::Fine,
        Self::Paused,
        Self::Waiting,
        Self::Abandoned,
        Self::Failed,
        Self::Ended,
    ];

    /// The state's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Diverging => "diverging",
            Self::Stale => "stale",
            Self::Plateau => "plateau",
            Self::OnPlan => "on_plan",
            Self::Blind => "blind",
            Self::Fine => "fine",
            Self::Paused => "paused",
            Self::Waiting => "waiting",
            Self::Abandoned => "abandoned",
            Self::Failed => "failed",
            Self::Ended => "ended",
        }
    }
}

/// How a job fares, and the reason in words; empty where the state says it all.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// The state.
    pub state: HealthState,
    /// Why, with figures.
    pub reason: String,
}

/// A stretch of steps in which the loss did not fall.
#[derive(Clone, Debug, PartialEq)]
pub struct FlatStretch {
    /// Its steps.
    pub steps: RangeInclusive<u64>,
    /// The figures, in words.
    pub reason: String,
}

/// The reports of the last steps.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// Steps, rising.
    pub steps: Vec<u64>,
    /// The loss of each.
    pub losses: Vec<f64>,
    /// How many of the newest reports with a rate used another rate than told, and how many such reports there are.
    pub off_told: (usize, usize),
}

/// The newest losses, in which a divergence is looked for.
const NEWEST: usize = 16;
/// Robust deviations above the median before.
const DEVIATIONS: f64 = 8.0;
/// Blocks of losses in which a plateau is looked for.
const BLOCKS: usize = 64;
/// Losses in which a plateau of the moment is looked for.
const LOOKED_AT: usize = 512;
/// Steps below which nothing is said about a trend.
const FEWEST: usize = 256;
/// In standard deviations: above this there is no downward trend. As `statistical_plateau` has it.
const Z: f64 = -2.0;
/// What the test of a trend needs.
const TEST: Wanted = Wanted { linear: true, order: false, mann_kendall: true, theil_sen: false };
/// What a divergence is seen by.
const LEVELS: Wanted = Wanted { linear: false, order: true, mann_kendall: false, theil_sen: false };

/// The health of each of these jobs, their statistics in batches.
#[must_use]
pub fn of(jobs: &[(&JobView, &Recent)], statistics: &dyn Backend) -> Vec<Health> {
    let mut found: Vec<Option<Finding>> = jobs.iter().map(|(view, recent)| plain(view, recent)).collect();
    let open: Vec<usize> = (0..jobs.len()).filter(|&i| found[i].is_none()).collect();
    let recents: Vec<&Recent> = open.iter().map(|&i| jobs[i].1).collect();
    for (i, finding) in open.into_iter().zip(training(&recents, statistics)) {
        found[i] = Some(finding);
    }
    for ((state, reason), (view, _)) in found.iter_mut().flatten().zip(jobs) {
        if let (HealthState::Fine | HealthState::Plateau | HealthState::Waiting, Some(lack)) = (*state, lack(view)) {
            (*state, *reason) = (HealthState::Blind, lack);
        }
    }
    found.into_iter().flatten().map(|(state, reason)| Health { state, reason }).collect()
}

type Finding = (HealthState, String);

/// The first controller of a running job that does not get the metric that it needs.
fn lack(view: &JobView) -> Option<String> {
    let progress = view.progress.as_ref().filter(|_| view.row.state == State::Running)?;
    let (name, status) = progress.controllers.iter().find(|(_, status)| status.is_blind)?;
    Some(format!("{name}: {}", status.missing.join("; ")))
}

/// What needs no statistics; `None` of a job that trains.
fn plain(view: &JobView, recent: &Recent) -> Option<Finding> {
    let missing = view.progress.as_ref().map_or("", |progress| &progress.missing_ranks);
    Some(match view.row.state {
        State::Failed => (HealthState::Failed, view.row.state_reason.clone()),
        State::Completed | State::Cancelled => (HealthState::Ended, view.row.state_reason.clone()),
        _ if view.idle == Idle::Abandoned => {
            let reason =
                format!("nobody has called or changed it since {}; a trainer that returns wakes it", view.active_time);
            (HealthState::Abandoned, reason)
        }
        State::Paused => (HealthState::Paused, view.row.state_reason.clone()),
        State::Pending => (HealthState::Waiting, "no trainer has begun yet".to_owned()),
        State::Running if view.is_stale() => {
            (HealthState::Stale, format!("nothing heard of the trainer since {}", view.active_time))
        }
        State::Running if view.progress.is_none() => {
            (HealthState::Waiting, format!("not asked for since {}, so it is not in memory", view.active_time))
        }
        State::Running if !missing.is_empty() => (HealthState::OnPlan, missing.to_owned()),
        State::Running if recent.losses.is_empty() => (HealthState::Waiting, "nothing reported yet".to_owned()),
        State::Running => return None,
    })
}

fn training(recents: &[&Recent], statistics: &dyn Backend) -> Vec<Finding> {
    let broken = divergences(recents, statistics);
    let flat = standstills(recents, statistics);
    let finding = |((recent, broken), flat): ((&&Recent, Option<String>), Option<FlatStretch>)| {
        let (off, reports) = recent.off_told;
        if let Some(reason) = broken {
            (HealthState::Diverging, reason)
        } else if 2 * off > reports {
            (HealthState::OnPlan, format!("{off} of the last {reports} steps ran at another rate than told"))
        } else if let Some(stretch) = flat {
            (HealthState::Plateau, stretch.reason)
        } else {
            (HealthState::Fine, String::new())
        }
    };
    recents.iter().zip(broken).zip(flat).map(finding).collect()
}

/// Of each job the last 512 losses as one stretch, if they do not fall.
fn standstills(recents: &[&Recent], statistics: &dyn Backend) -> Vec<Option<FlatStretch>> {
    let newest = |recent: &&Recent| {
        let finite = finite(&recent.steps, &recent.losses);
        let newest = &finite[finite.len().saturating_sub(LOOKED_AT)..];
        if newest.len() < FEWEST { Vec::new() } else { blocks(newest, newest.len() / BLOCKS) }
    };
    let jobs: Vec<Vec<Block>> = recents.iter().map(newest).collect();
    let tests = statistics.summarise(&batch(jobs.iter().map(|blocks| means(blocks))), TEST);
    let is_flat = |(blocks, test): (&Vec<Block>, &Summary)| !blocks.is_empty() && z(test) > Z;
    let is_flat: Vec<bool> = jobs.iter().zip(&tests).map(is_flat).collect();
    let flat = jobs.iter().zip(&is_flat).filter(|(_, is_flat)| **is_flat).map(|(blocks, _)| blocks.as_slice());
    let mut described = describe(&flat.collect::<Vec<_>>(), statistics).into_iter();
    is_flat.into_iter().map(|is_flat| if is_flat { described.next() } else { None }).collect()
}

fn divergences(recents: &[&Recent], statistics: &dyn Backend) -> Vec<Option<String>> {
    let levels = recents.iter().flat_map(|recent| {
        let (before, newest) = recent.losses.split_at(recent.losses.len().saturating_sub(NEWEST));
        [before.to_vec(), newest.to_vec()]
    });
    let levels = statistics.summarise(&batch(levels), LEVELS);
    recents.iter().zip(levels.chunks_exact(2)).map(|(recent, pair)| divergence(recent, &pair[0], &pair[1])).collect()
}

/// From the losses but the newest ones, and from those.
fn divergence(recent: &Recent, before: &Summary, newest: &Summary) -> Option<String> {
    let reported = recent.losses.len().min(NEWEST);
    if newest.finite < reported {
        return Some(format!("{} of the last {reported} losses are not finite", reported - newest.finite));
    }
    let (usual, now) = (before.quantiles.filter(|_| before.finite >= NEWEST)?, newest.quantiles?.median);
    let deviation = (1.4826 * usual.mad).max(1e-3 * usual.median.abs());
    let (usual, above) = (usual.median, (now - usual.median) / deviation);
    (above > DEVIATIONS)
        .then(|| format!("loss {now:.4}, {above:.0} robust deviations above its median before, {usual:.4}"))
}

/// The stretches of a series in which the loss did not fall: Mann and Kendall's test over windows of 64 block means,
/// with the threshold of two deviations and the allowance for correlated neighbours of `statistical_plateau`.
#[must_use]
pub fn plateaus(steps: &[u64], losses: &[f64]) -> Vec<FlatStretch> {
    let finite = finite(steps, losses);
    let (Some(&(first, _)), Some(&(last, _))) = (finite.first(), finite.last()) else { return Vec::new() };
    let span = usize::try_from(last - first + 1).unwrap_or(usize::MAX);
    // A window has at least 256 steps and, of a long run, an eighth of it.
    let block = (FEWEST * finite.len()).div_ceil(BLOCKS * span).max(finite.len().div_ceil(8 * BLOCKS));
    let blocks = blocks(&finite, block);
    let mut ends: Vec<usize> = (BLOCKS..=blocks.len()).step_by(BLOCKS / 8).collect();
    // The last window ends with the series.
    if ends.last().is_some_and(|end| *end < blocks.len()) {
        ends.push(blocks.len());
    }
    let tests = Cpu.summarise(&batch(ends.iter().map(|end| means(&blocks[end - BLOCKS..*end]))), TEST);
    let mut flat: Vec<(usize, usize)> = Vec::new(); // places of blocks, the end open
    for (end, _) in ends.into_iter().zip(tests).filter(|(_, test)| z(test) > Z) {
        match flat.last_mut() {
            Some(before) if before.1 >= end - BLOCKS => before.1 = end,
            _ => flat.push((end - BLOCKS, end)),
        }
    }
    let flat: Vec<&[Block]> = flat.into_iter().map(|(from, to)| &blocks[from..to]).collect();
    describe(&flat, &Cpu)
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

/// Windows in one batch, of each the newest values that fit.
fn batch(windows: impl Iterator<Item = Vec<f64>>) -> Windows {
    let mut batch = Windows::default();
    for window in windows {
        // It has no more than what fits.
        let _ = batch.push(&window[window.len().saturating_sub(MAX_WINDOW)..]);
    }
    batch
}

/// The test's figure, below 0 for a falling series; 0 where all values are the same.
fn z(series: &Summary) -> f64 {
    let Some(test) = series.mann_kendall else { return 0.0 };
    let correlation = series.trend.map_or(0.0, |trend| trend.neighbour_correlation).clamp(0.0, 0.9);
    test.signed().signum() * (test.z2() * (1.0 - correlation) / (1.0 + correlation)).sqrt()
}

/// Each of these stretches with its figures.
fn describe(stretches: &[&[Block]], statistics: &dyn Backend) -> Vec<FlatStretch> {
    let thinned = |blocks: &&[Block]| -> Vec<f64> {
        let thin = blocks.len().div_ceil(2 * BLOCKS);
        blocks.iter().step_by(thin.max(1)).map(|(_, _, mean)| *mean).collect()
    };
    let figures = statistics.summarise(&batch(stretches.iter().map(thinned)), Wanted { theil_sen: true, ..TEST });
    let described = |(blocks, figures): (&&[Block], Summary)| {
        let (from, to) = (blocks[0].0, blocks[blocks.len() - 1].1);
        let steps_a_place = exact(usize::try_from(to - from).unwrap_or(usize::MAX)) / exact(figures.finite.max(2) - 1);
        let slope = figures.theil_sen.map_or(0.0, |trend| trend.slope / steps_a_place);
        let reason = format!(
            "loss flat for {} steps: Mann–Kendall z = {:.1}, slope {slope:.0e} per step",
            to - from + 1,
            z(&figures)
        );
        FlatStretch { steps: from..=to, reason }
    };
    stretches.iter().zip(figures).map(described).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use lrs_stats::{
        accelerated::Accelerated,
        break_even::BreakEven,
        device::fake::{Fake, Told},
    };

    fn steps(n: u64) -> Vec<u64> {
        (0..n).collect()
    }

    fn recent(losses: Vec<f64>) -> Recent {
        Recent { steps: steps(losses.len() as u64), losses, off_told: (0, 0) }
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
        assert!(*last.steps.end() == 1999 && (850..1300).contains(last.steps.start()), "{found:?}");
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
            let recents: Vec<Recent> = (0..400).map(|seed| recent(losses(seed))).collect();
            let found = standstills(&recents.iter().collect::<Vec<_>>(), &Cpu);
            found.iter().flatten().count()
        };
        // By chance one of 44 looks like a fall of two deviations.
        assert!((380..=398).contains(&still(0.0)), "{}", still(0.0));
        assert_eq!(still(1.0 / 512.0), 0);
    }

    #[test]
    fn who_computes_and_whether_it_breaks_changes_no_finding() {
        let jobs = [
            recent(Vec::new()),
            recent((0..200).map(|step| 1.0 + 0.05 * noise(1, step)).chain([9.0; 16]).collect()),
            recent((0..512).map(|step| 1.0 + noise(2, step)).collect()),
            recent((0..512).map(|step| 3.0 - 0.01 * f64::from(step)).collect()),
            recent(vec![1.0, f64::NAN]),
            Recent { off_told: (9, 16), ..recent(vec![1.0; 300]) },
        ];
        let jobs: Vec<&Recent> = jobs.iter().collect();
        let found = training(&jobs, &Cpu);
        let states: Vec<HealthState> = found.iter().map(|(state, _)| *state).collect();
        let [fine, diverging, plateau, on_plan] =
            [HealthState::Fine, HealthState::Diverging, HealthState::Plateau, HealthState::OnPlan];
        assert_eq!(states, [fine, diverging, plateau, fine, diverging, on_plan]);
        // Three batches: levels, trends, and the figures of what is flat.
        for calls in 0..=3 {
            let device = Accelerated::new(Box::new(Fake::new(0, calls)), BreakEven::NEVER_CPU, Arc::<Told>::default());
            assert_eq!(training(&jobs, &device), found, "a device that breaks at call {calls}");
        }
    }

    #[test]
    fn too_few_steps_say_nothing() {
        assert_eq!(standstills(&[&recent(vec![1.0; 200])], &Cpu), [None]);
        assert_eq!(plateaus(&steps(200), &[1.0; 200]), []);
        assert_eq!(plateaus(&[], &[]), []);
        assert_eq!(plateaus(&steps(500), &[f64::NAN; 500]), []);
    }

    #[test]
    fn a_loss_far_above_what_it_was_diverges() {
        let mut losses: Vec<f64> = (0..200).map(|step| 1.0 + 0.05 * noise(1, step)).collect();
        let diverges = |losses: &[f64]| divergences(&[&recent(losses.to_vec())], &Cpu).remove(0);
        assert_eq!(diverges(&losses), None);
        losses.extend([9.0; 16]);
        assert!(diverges(&losses).unwrap().contains("robust deviations above"));
        losses.push(f64::NAN);
        assert_eq!(diverges(&losses).unwrap(), "1 of the last 16 losses are not finite");
    }
}
