//! Shapes of eases, and floors.

use lrs_model::{
    schedule::{Floor, Shape},
    violation::Violations,
};
use lrs_proto as proto;
use lrs_proto::{floor::Level, shape::Curve};

/// The shape in the field `shape`, if there is one.
pub(super) fn from_proto(shape: Option<proto::Shape>, v: &mut Violations) -> Option<Shape> {
    let shape = match shape?.curve {
        Some(Curve::Linear(_)) => Shape::Linear,
        Some(Curve::Cosine(_)) => Shape::Cosine,
        Some(Curve::CosinePower(exponent)) => Shape::CosinePower(exponent),
        Some(Curve::Poly(exponent)) => Shape::Poly(exponent),
        Some(Curve::Power(exponent)) => Shape::Power(exponent),
        Some(Curve::OneMinusSqrt(_)) => Shape::OneMinusSqrt,
        Some(Curve::Exp(ratio)) => Shape::Exp(ratio),
        Some(Curve::Tanh(proto::TanhShape { lower, upper })) => Shape::Tanh { lower, upper },
        Some(Curve::Log(n)) => Shape::Log(n),
        None => {
            v.add("shape", "is empty: exactly one curve, such as `cosine`, or no shape at all");
            Shape::Linear
        }
    };
    Some(shape)
}

/// A shape on the wire.
pub(super) fn to_proto(shape: Shape) -> proto::Shape {
    let curve = match shape {
        Shape::Linear => Curve::Linear(proto::LinearShape {}),
        Shape::Cosine => Curve::Cosine(proto::CosineShape {}),
        Shape::CosinePower(exponent) => Curve::CosinePower(exponent),
        Shape::Poly(exponent) => Curve::Poly(exponent),
        Shape::Power(exponent) => Curve::Power(exponent),
        Shape::OneMinusSqrt => Curve::OneMinusSqrt(proto::OneMinusSqrtShape {}),
        Shape::Exp(ratio) => Curve::Exp(ratio),
        Shape::Tanh { lower, upper } => Curve::Tanh(proto::TanhShape { lower, upper }),
        Shape::Log(n) => Curve::Log(n),
    };
    proto::Shape { curve: Some(curve) }
}

/// A floor; one that says nothing is none.
pub(super) fn floor_from_proto(floor: Option<proto::Floor>) -> Option<Floor> {
    match floor?.level? {
        Level::MinLr(rate) => Some(Floor::MinLr(rate)),
        Level::MinFactor(factor) => Some(Floor::MinFactor(factor)),
    }
}

/// A floor on the wire.
pub(super) fn floor_to_proto(floor: Option<Floor>) -> Option<proto::Floor> {
    let level = match floor? {
        Floor::MinLr(rate) => Level::MinLr(rate),
        Floor::MinFactor(factor) => Level::MinFactor(factor),
    };
    Some(proto::Floor { level: Some(level) })
}
