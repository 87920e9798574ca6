//! The expression that every schedule becomes: the algebra, checked.

use super::{
    chain::Chain,
    decline::{Geometric, PowerLaw},
    ease::Ease,
    pace::Pace,
    pointwise::{self, Clamp},
    repeat::Repeat,
    seq::Seq,
    time::{Shift, Stair},
};

/// A schedule, or a part of one: a total function of local time and base rate.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// An absolute value.
    Constant(f64),
    /// A multiple of the base rate.
    Base(f64),
    Ease(Box<Ease>),
    Geometric(Box<Geometric>),
    PowerLaw(Box<PowerLaw>),
    Seq(Seq),
    Repeat(Box<Repeat>),
    Stair(Box<Stair>),
    Shift(Box<Shift>),
    Product(Vec<Node>),
    Sum(Vec<Node>),
    Clamp(Box<Clamp>),
    Pace(Box<Pace>),
    Chain(Chain),
}

impl Node {
    /// The base rate itself.
    pub(super) const BASE: Self = Self::Base(1.0);

    /// The value at local time `t`, finite. Needs `t` finite and at least 0, and `base` finite.
    pub(super) fn at(&self, t: f64, base: f64) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Base(factor) => saturate(factor * base),
            Self::Ease(ease) => ease.at(t, base),
            Self::Geometric(geometric) => geometric.at(t, base),
            Self::PowerLaw(power_law) => power_law.at(t, base),
            Self::Seq(seq) => seq.at(t, base),
            Self::Repeat(repeat) => repeat.at(t, base),
            Self::Stair(stair) => stair.at(t, base),
            Self::Shift(shift) => shift.at(t, base),
            Self::Product(factors) => pointwise::product(factors, t, base),
            Self::Sum(terms) => pointwise::sum(terms, t, base),
            Self::Clamp(clamp) => clamp.at(t, base),
            Self::Pace(pace) => pace.at(t, base),
            Self::Chain(chain) => chain.at(t, base),
        }
    }

    /// Whether the base rate appears anywhere, with a factor other than 0.
    pub(super) fn uses_base(&self) -> bool {
        match self {
            Self::Base(factor) => *factor != 0.0,
            // The first link finds the base rate.
            Self::Chain(_) => true,
            other => other.children().into_iter().any(Self::uses_base),
        }
    }

    /// The number of nodes, this one included.
    pub(super) fn size(&self) -> usize {
        1 + self.children().into_iter().map(Self::size).sum::<usize>()
    }

    /// The number of levels, this one included.
    pub(super) fn depth(&self) -> usize {
        1 + self.children().into_iter().map(Self::depth).max().unwrap_or(0)
    }

    fn children(&self) -> Vec<&Node> {
        match self {
            Self::Constant(_) | Self::Base(_) => Vec::new(),
            Self::Ease(ease) => vec![&ease.start, &ease.end],
            Self::Geometric(geometric) => vec![&geometric.value],
            Self::PowerLaw(power_law) => vec![&power_law.value],
            Self::Seq(seq) => seq.parts.iter().collect(),
            Self::Repeat(repeat) => vec![&repeat.body, &repeat.after],
            Self::Stair(stair) => vec![&stair.schedule],
            Self::Shift(shift) => vec![&shift.schedule],
            Self::Pace(pace) => vec![&pace.schedule],
            Self::Chain(chain) => chain.links.iter().map(|link| &link.schedule).collect(),
            Self::Product(parts) | Self::Sum(parts) => parts.iter().collect(),
            Self::Clamp(clamp) => {
                [Some(&clamp.schedule), clamp.min.as_ref(), clamp.max.as_ref()].into_iter().flatten().collect()
            }
        }
    }
}

/// `x`, or where that is infinite the largest finite number of its sign. A NaN stays one.
pub(super) fn saturate(x: f64) -> f64 {
    x.clamp(-f64::MAX, f64::MAX)
}

/// A step, or any other whole number, as time. Exact up to `model::MAX_STEP`.
#[expect(clippy::cast_precision_loss, reason = "callers stay within MAX_STEP, where every integer is an f64")]
pub(super) fn exact(steps: u64) -> f64 {
    steps as f64
}
