//! The expression that every schedule becomes: the algebra, checked.

use super::{
    chain::Chain,
    curve::{Curve, saturate},
    cycles::Cycles,
    decline::{Geometric, PowerLaw},
    ease::Ease,
    pace::Pace,
    pointwise::{self, Clamp},
    repeat::Repeat,
    seq::Seq,
    time::{Shift, Stair},
};
use lrs_model::schedule::{Past, Shape};

/// A schedule, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// An absolute value.
    Constant(f64),
    /// A multiple of the base rate.
    Base(f64),
    Ease(Box<Ease<Node>>),
    Geometric(Box<Geometric<Node>>),
    PowerLaw(Box<PowerLaw<Node>>),
    Seq(Seq<Node>),
    Repeat(Box<Repeat<Node>>),
    Stair(Box<Stair<Node>>),
    Shift(Box<Shift<Node>>),
    Product(Vec<Node>),
    Sum(Vec<Node>),
    Clamp(Box<Clamp<Node>>),
    Pace(Box<Pace<Node>>),
    Chain(Chain<Node>),
}

impl Curve for Node {
    fn at(&self, t: f64, base: f64) -> f64 {
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
}

impl Node {
    /// The base rate itself.
    pub(super) const BASE: Self = Self::Base(1.0);

    /// An ease that holds its end and is not warped.
    pub(super) fn ease(start: Self, end: Self, over: f64, shape: Shape) -> Self {
        Self::Ease(Box::new(Ease { start, end, over, shape, past: Past::Hold, warp: 1.0 }))
    }

    /// `value * rate^(t / every)`.
    pub(super) fn geometric(value: Self, rate: f64, every: f64) -> Self {
        Self::Geometric(Box::new(Geometric { value, rate, every }))
    }

    /// `value * (1 + t / tau)^-exponent`.
    pub(super) fn power_law(value: Self, tau: f64, exponent: f64) -> Self {
        Self::PowerLaw(Box::new(PowerLaw { value, tau, exponent }))
    }

    /// Parts that begin at the boundaries. There must be one boundary fewer than parts.
    pub(super) fn seq(boundaries: Vec<f64>, parts: Vec<Self>) -> Self {
        Self::Seq(Seq { boundaries, parts })
    }

    /// Endless cycles.
    pub(super) fn repeat(body: Self, first: f64, growth: f64, scale: f64) -> Self {
        let cycles = Cycles { first, growth };
        Self::Repeat(Box::new(Repeat { body, cycles, scale, limit: None, after: Self::Constant(0.0) }))
    }

    /// `schedule`, held over stairs of `every` steps.
    pub(super) fn stair(schedule: Self, every: f64) -> Self {
        Self::Stair(Box::new(Stair { schedule, every }))
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
