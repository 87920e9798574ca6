//! Forms of phases that follow one another: warm-up, one-cycle, and warm-up, stable, decay.

use super::floor;
use crate::{
    check,
    ease::Ease,
    horizon::{Horizon, steps},
    node::Node,
    seq::Seq,
    shape,
};
use lrs_model::{
    schedule::{OneCycle, Shape, Warmup, WarmupStableDecay},
    violation::Violations,
};

/// The end of a warm-up and its ramp, `ease(base * start_factor, base, warmup_steps, shape)`.
pub(crate) fn ramp(form: &Warmup, v: &mut Violations) -> (f64, Node) {
    let end = steps("warmup_steps", form.warmup_steps, 0, v);
    check::at_least("start_factor", form.start_factor, 0.0, v);
    shape::check(form.shape, v);
    (end, Ease::node(Node::Base(form.start_factor), Node::BASE, end, form.shape))
}

/// `seq([peak], [ease(base / div_factor, base, peak, shape), ease(base, base / div_factor / final_div_factor, …, shape)])`.
///
/// Smith and Topin, "Super-Convergence", 2018, <https://arxiv.org/abs/1708.07120>. Steps are whole: the peak is at
/// `floor(pct_start * total_steps)`, and the end at `total_steps - 1`, which goes before where both are the same step.
pub(crate) fn one_cycle(form: &OneCycle, left: Horizon, v: &mut Violations) -> Node {
    let total = left.length("total_steps", form.total_steps, 2, v).floor();
    let allowed = form.pct_start > 0.0 && form.pct_start < 1.0;
    check::that("pct_start", form.pct_start, allowed, "greater than 0 and less than 1", v);
    check::at_least("div_factor", form.div_factor, 1.0, v);
    check::at_least("final_div_factor", form.final_div_factor, 1.0, v);
    shape::check(form.shape, v);
    let end = total - 1.0;
    // A fraction a rounding short of 1 may give the whole.
    let peak = (form.pct_start * total).floor().min(end);
    let first = 1.0 / form.div_factor;
    let last = first / form.final_div_factor;
    let rise = Ease::node(Node::Base(first), Node::BASE, peak, form.shape);
    let fall = Ease::node(Node::BASE, Node::Base(last), end - peak, form.shape);
    Seq::node(vec![peak], vec![rise, fall])
}

/// `seq([warmup_steps, total_steps - decay_steps], [ramp, base, ease(base, floor, decay_steps, shape)])`.
///
/// Hu et al., "Unveiling the Potential of Small Language Models with Scalable Training Strategies", 2024, section 4, <https://arxiv.org/abs/2404.06395>; the default shape is after Hägele et al.,
/// "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024, <https://arxiv.org/abs/2405.18392>.
pub(crate) fn warmup_stable_decay(form: &WarmupStableDecay, left: Horizon, v: &mut Violations) -> Node {
    let wrong_before = v.len();
    let warmup = steps("warmup_steps", form.warmup_steps, 0, v);
    let decay = steps("decay_steps", form.decay_steps, 1, v);
    let total = left.length("total_steps", form.total_steps, 1, v);
    if v.len() == wrong_before && warmup + decay > total {
        let field = if form.total_steps.is_some() { "total_steps" } else { "decay_steps" };
        let sum = warmup + decay;
        v.add(
            field,
            format!("warmup_steps + decay_steps = {sum} is not allowed: must be at most the {total} steps there are"),
        );
    }
    let floor = floor(form.floor, v);
    shape::check(form.shape, v);
    let ramp = Ease::node(Node::Constant(0.0), Node::BASE, warmup, Shape::Linear);
    let fall = Ease::node(Node::BASE, floor, decay, form.shape);
    Seq::node(vec![warmup, total - decay], vec![ramp, Node::BASE, fall])
}
