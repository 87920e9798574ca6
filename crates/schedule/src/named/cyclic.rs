//! Forms that begin again and again: cosine annealing with warm restarts, and triangles.

use super::floor;
use crate::{check, ease::Ease, horizon::steps, node::Node, repeat::Repeat, seq::Seq};
use lrs_model::{
    schedule::{CosineRestarts, Cyclic, Shape},
    violation::Violations,
};

/// `repeat(ease(base, floor, 1, cosine), first_steps, growth)`.
///
/// Loshchilov and Hutter, "SGDR", ICLR 2017, <https://arxiv.org/abs/1608.03983>. With a `scale` the peaks shrink and the
/// floor does not, so that the value is `floor + (base * scale^i - floor) w`, where `w` falls from 1 to 0. Multiplied out:
/// `sum(floor, product(base, repeat(w, scale)), product(-floor, repeat(w)))`.
pub(crate) fn cosine_restarts(form: &CosineRestarts, v: &mut Violations) -> Node {
    let first = steps("first_steps", form.first_steps, 1, v);
    check::at_least("growth", form.growth, 1.0, v);
    check::at_least("scale", form.scale, 0.0, v);
    let floor = floor(form.floor, v);
    let Some(below) = scaled_about(&floor, form.scale) else {
        let fall = Ease::node(Node::BASE, floor, 1.0, Shape::Cosine);
        return Repeat::node(fall, first, form.growth, form.scale);
    };
    let fall = |scale| {
        let fall = Ease::node(Node::Constant(1.0), Node::Constant(0.0), 1.0, Shape::Cosine);
        Repeat::node(fall, first, form.growth, scale)
    };
    let peaks = Node::Product(vec![Node::BASE, fall(form.scale)]);
    let lifted = Node::Product(vec![below, fall(1.0)]);
    Node::Sum(vec![floor, peaks, lifted])
}

/// `repeat(seq([r], [ease(floor, base, r), ease(base, floor, 1 - r)]), up_steps + down_steps)`, where `r` is the part of a
/// cycle spent rising.
///
/// Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, <https://arxiv.org/abs/1506.01186>. With a `scale`
/// the height above the floor shrinks: `sum(floor, product(sum(base, -floor), repeat(triangle from 0 to 1, scale)))`.
pub(crate) fn triangles(form: &Cyclic, v: &mut Violations) -> Node {
    let up = steps("up_steps", form.up_steps, 1, v);
    let down = form.down_steps.map_or(up, |down| steps("down_steps", down, 1, v));
    check::at_least("scale", form.scale, 0.0, v);
    let floor = floor(form.floor, v);
    let rising = up / (up + down);
    let cycles = |bottom: Node, top: Node| {
        let rise = Ease::node(bottom.clone(), top.clone(), rising, Shape::Linear);
        let fall = Ease::node(top, bottom, 1.0 - rising, Shape::Linear);
        Repeat::node(Seq::node(vec![rising], vec![rise, fall]), up + down, 1.0, form.scale)
    };
    let Some(below) = scaled_about(&floor, form.scale) else {
        return cycles(floor, Node::BASE);
    };
    let height = Node::Sum(vec![Node::BASE, below]);
    let triangle = cycles(Node::Constant(0.0), Node::Constant(1.0));
    Node::Sum(vec![floor, Node::Product(vec![height, triangle])])
}

/// What takes `floor` away, if the cycles must be scaled about it: not where nothing is scaled, or it is 0.
fn scaled_about(floor: &Node, scale: f64) -> Option<Node> {
    #[expect(clippy::float_cmp, reason = "only at exactly 1 is there nothing to scale")]
    let unscaled = scale == 1.0;
    match floor {
        _ if unscaled => None,
        Node::Constant(rate) if *rate != 0.0 => Some(Node::Constant(-rate)),
        Node::Base(factor) if *factor != 0.0 => Some(Node::Base(-factor)),
        _ => None,
    }
}
