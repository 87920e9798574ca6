//! Forms that fall from the base rate once: to a floor (cosine, linear, polynomial) or for ever (exponential, inverse
//! square root).

use super::floor;
use crate::{
    check,
    decline::{Geometric, PowerLaw},
    ease::Ease,
    horizon::{Horizon, steps},
    node::Node,
};
use lrs_model::{
    schedule::{Decay, Exponential, InverseSqrt, Polynomial, Shape},
    violation::Violations,
};

/// `ease(base, floor, decay_steps, cosine)`: Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts.
/// <https://arxiv.org/abs/1608.03983>
pub(crate) fn cosine(form: &Decay, left: Horizon, v: &mut Violations) -> Node {
    let over = left.length("decay_steps", form.decay_steps, 1, v);
    Ease::node(Node::BASE, floor(form.floor, v), over, Shape::Cosine)
}

/// `ease(base, floor, decay_steps)`.
pub(crate) fn linear(form: &Decay, left: Horizon, v: &mut Violations) -> Node {
    let over = left.length("decay_steps", form.decay_steps, 1, v);
    Ease::node(Node::BASE, floor(form.floor, v), over, Shape::Linear)
}

/// `ease(base, floor, decay_steps, poly(power))`.
pub(crate) fn polynomial(form: &Polynomial, left: Horizon, v: &mut Violations) -> Node {
    let over = left.length("decay_steps", form.decay_steps, 1, v);
    let floor = floor(form.floor, v);
    check::positive("power", form.power, v);
    Ease::node(Node::BASE, floor, over, Shape::Poly(form.power))
}

/// `geometric(base, gamma, decay_steps)`.
pub(crate) fn exponential(form: &Exponential, v: &mut Violations) -> Node {
    check::positive("gamma", form.gamma, v);
    let every = steps("decay_steps", form.decay_steps, 1, v);
    Node::Geometric(Box::new(Geometric { value: Node::BASE, rate: form.gamma, every }))
}

/// `power_law(base, timescale, 1/2)`.
pub(crate) fn inverse_sqrt(form: InverseSqrt, v: &mut Violations) -> Node {
    let tau = steps("timescale", form.timescale, 1, v);
    Node::PowerLaw(Box::new(PowerLaw { value: Node::BASE, tau, exponent: 0.5 }))
}
