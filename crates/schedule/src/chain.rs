//! Schedulers that take turns changing one rate, each from the rate that the one before it left: a fold over the steps.
//!
//! Each link is an affine map of the rate, so the rate at a step is `slope * base + offset` for every base rate. This
//! pair is computed for every step when the schedule is compiled, and kept for every [`STRIDE`]th step; a short fold
//! gives the others. So every lookup takes bounded time, and its bits do not depend on earlier lookups.

use std::sync::Arc;

use super::{
    check,
    curve::{Curve, saturate},
};
use lrs_model::{number::exact, schedule as spec, violation::Violations};

/// The most steps of a chain.
pub(super) const MAX_STEPS: u64 = 1_000_000;
/// The most links of a chain.
const MAX_LINKS: usize = 16;
/// The rate is kept for every so many steps.
const STRIDE: u64 = 64;

/// The chain, and the rate at every `STRIDE`th step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chain<C> {
    pub(super) links: Vec<Link<C>>, // at least one
    pub(super) steps: u64,
    kept: Arc<[Rate]>,
}

/// One scheduler.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Link<C> {
    pub(super) schedule: C,
    pub(super) floor: f64,
    pub(super) running: bool,
    pub(super) resets: Vec<u64>, // rising
    pub(super) always_resets: bool,
}

/// `slope * base + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    slope: f64,
    offset: f64,
}

/// Checks the numbers of a chain.
pub(super) fn check(spec: &spec::Chain, v: &mut Violations) {
    check::that("steps", exact(spec.steps), spec.steps <= MAX_STEPS, "at most 1000000", v);
    if spec.links.is_empty() {
        v.add("links", format!("is required: must be from 1 to {MAX_LINKS} links"));
    } else if spec.links.len() > MAX_LINKS {
        v.refuse("links", format!("{} links", spec.links.len()), format!("from 1 to {MAX_LINKS}"));
    }
    for (i, link) in spec.links.iter().enumerate() {
        check::finite(&format!("links[{i}].floor"), link.floor, v);
    }
}

impl<C: Curve> Chain<C> {
    /// Computes the rates of all steps.
    pub(super) fn new(mut links: Vec<Link<C>>, steps: u64) -> Self {
        for link in &mut links {
            link.resets.sort_unstable();
            link.resets.dedup();
        }
        let mut chain = Self { links, steps: steps.min(MAX_STEPS), kept: Arc::default() };
        let mut rate = Rate { slope: 1.0, offset: 0.0 };
        let mut kept = Vec::new();
        for step in 0..=chain.steps {
            rate = chain.next(rate, step);
            if step.is_multiple_of(STRIDE) {
                kept.push(rate);
            }
        }
        chain.kept = kept.into();
        chain
    }

    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at least 0, and cut at the end")]
        let step = (t as u64).min(self.steps);
        let nearest = usize::try_from(step / STRIDE).ok().and_then(|nearest| self.kept.get(nearest));
        let Some(mut rate) = nearest.copied() else { return base };
        for step in step / STRIDE * STRIDE + 1..=step {
            rate = self.next(rate, step);
        }
        saturate(saturate(rate.slope * base) + rate.offset)
    }

    /// The rate of `step` from that of the step before.
    fn next(&self, before: Rate, step: u64) -> Rate {
        self.links.iter().fold(before, |rate, link| link.change(rate, step))
    }
}

impl<C: Curve> Link<C> {
    fn change(&self, rate: Rate, step: u64) -> Rate {
        let t = exact(step);
        if self.resets_at(step) {
            let offset = self.schedule.at(t, 0.0);
            return Rate { slope: saturate(self.schedule.at(t, 1.0) - offset), offset };
        }
        let value = self.schedule.at(t, 1.0);
        let (factor, rise) = match (self.running, step) {
            (true, 0) => (1.0, 0.0),
            (true, _) | (false, 0) => (value, 0.0),
            (false, _) => match self.schedule.at(t - 1.0, 1.0) {
                0.0 => (1.0, value),
                before => (saturate(value / before), 0.0),
            },
        };
        // f + (x - f) * factor, or x + (b - f) * rise.
        Rate {
            slope: saturate(saturate(rate.slope * factor) + rise),
            offset: saturate(
                saturate(saturate(rate.offset - self.floor) * factor) + saturate(self.floor * (1.0 - rise)),
            ),
        }
    }

    fn resets_at(&self, step: u64) -> bool {
        self.always_resets || self.resets.binary_search(&step).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;
    use lrs_model::schedule::Shape;

    fn link(schedule: Node, floor: f64) -> Link<Node> {
        Link { schedule, floor, running: false, resets: Vec::new(), always_resets: false }
    }

    fn line(over: f64) -> Node {
        Node::ease(Node::BASE, Node::Constant(0.0), over, Shape::Linear)
    }

    #[test]
    fn a_single_link_is_its_schedule_above_its_floor() {
        let chain = Chain::new(vec![link(line(200.0), 0.5)], 300);
        for step in [0_u64, 1, 63, 64, 65, 150, 200, 300, 1000] {
            let expected = 0.5 + 1.5 * (1.0 - exact(step.min(200)) / 200.0);
            assert!((chain.at(exact(step), 2.0) - expected).abs() < 1e-12, "{step}");
        }
    }

    #[test]
    fn a_running_link_multiplies_step_by_step() {
        let running = Link { running: true, ..link(Node::Constant(0.5), 0.0) };
        let chain = Chain::new(vec![running], 100);
        assert_eq!(chain.at(0.0, 8.0).to_bits(), 8.0_f64.to_bits());
        assert_eq!(chain.at(3.0, 8.0).to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn a_reset_forgets_what_the_others_did() {
        let resetting = Link { resets: vec![2], ..link(Node::BASE, 0.0) };
        let halving = Link { running: true, ..link(Node::Constant(0.5), 0.0) };
        let chain = Chain::new(vec![halving, resetting], 10);
        for (t, value) in [(0.0, 8.0), (1.0, 4.0), (2.0, 8.0), (3.0, 4.0)] {
            assert_eq!(chain.at(t, 8.0).to_bits(), f64::to_bits(value));
        }
    }
}
