//! A schedule as written, not yet checked: each form of the algebra, and named forms whose parameters only
//! `lrs_schedule` understands.
//!
//! This is the same tree as `lrs.v1.Schedule`, which describes every form and field. Values are rates:
//! [`ScheduleSpec::Base`] is a multiple of the parameter group's base rate, and [`ScheduleSpec::Constant`] is an
//! absolute number.
//!
//! In JSON a schedule is an object with one entry, the name of the form and its parameters:
//! `{"stair": {"schedule": {"cosine": {}}, "every": 10.0}}`. A parameter that is left out has the default of the proto.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

use super::library::LibraryCall;

/// A schedule as written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each form is described once, in proto/lrs/v1/schedule.proto")]
pub enum ScheduleSpec {
    Constant(f64),
    Base(f64),
    Ease(Box<Ease>),
    Geometric(Box<Geometric>),
    PowerLaw(Box<PowerLaw>),
    Seq(Sequence),
    Repeat(Box<Repeat>),
    Stair(Box<Stair>),
    Shift(Box<Shift>),
    Product {
        factors: Vec<ScheduleSpec>,
    },
    Sum {
        terms: Vec<ScheduleSpec>,
    },
    Clamp(Box<Clamp>),
    Pace(Box<Pace>),
    Chain(Chain),
    Library(LibrarySchedule),
    #[serde(untagged)]
    Named(NamedForm),
    /// A missing schedule where one is required: always refused.
    #[default]
    #[serde(untagged, serialize_with = "without_form")]
    Missing,
}

/// A named form, such as `cosine`, with its parameters; the form's file under `lrs_schedule`'s `named` describes them.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedForm {
    /// The form's name.
    pub form: String,
    /// An object with the parameters that are set.
    pub params: Value,
}

impl ScheduleSpec {
    /// A named form with the object `params`.
    #[must_use]
    pub fn named(form: &str, params: Value) -> Self {
        Self::Named(NamedForm { form: form.to_owned(), params })
    }

    /// The schedules that this form of the algebra contains. Schedules in a named form or in a library's scheduler are
    /// among the parameters instead.
    pub fn parts_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Constant(_) | Self::Base(_) | Self::Library(_) | Self::Named(_) | Self::Missing => Vec::new(),
            Self::Ease(ease) => vec![&mut ease.start, &mut ease.end],
            Self::Geometric(geometric) => vec![&mut geometric.value],
            Self::PowerLaw(power_law) => vec![&mut power_law.value],
            Self::Repeat(repeat) => vec![&mut repeat.body, &mut repeat.after],
            Self::Stair(stair) => vec![&mut stair.schedule],
            Self::Shift(shift) => vec![&mut shift.schedule],
            Self::Pace(pace) => vec![&mut pace.schedule],
            Self::Clamp(clamp) => {
                [Some(&mut clamp.schedule), clamp.min.as_mut(), clamp.max.as_mut()].into_iter().flatten().collect()
            }
            Self::Chain(chain) => chain.links.iter_mut().map(|link| &mut link.schedule).collect(),
            Self::Seq(Sequence { parts, .. }) | Self::Product { factors: parts } | Self::Sum { terms: parts } => {
                parts.iter_mut().collect()
            }
        }
    }
}

/// An object without a form, so that it is not read as no schedule at all where there may be none.
fn without_form<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(std::iter::empty::<((), ())>())
}

impl Serialize for NamedForm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(&self.form, &self.params)])
    }
}

impl<'de> Deserialize<'de> for ScheduleSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneForm)
    }
}

/// Reads an object with one entry. A name that is not a form of the algebra is a named form; null is a missing form.
struct OneForm;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Factors {
    factors: Vec<ScheduleSpec>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Terms {
    terms: Vec<ScheduleSpec>,
}

impl<'de> Visitor<'de> for OneForm {
    type Value = ScheduleSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the name of a form and its parameters")
    }

    fn visit_unit<E>(self) -> Result<ScheduleSpec, E> {
        Ok(ScheduleSpec::Missing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ScheduleSpec, A::Error> {
        use ScheduleSpec as S;
        let Some(form) = map.next_key::<String>()? else { return Ok(S::Missing) };
        let schedule = match form.as_str() {
            "constant" => S::Constant(map.next_value()?),
            "base" => S::Base(map.next_value()?),
            "ease" => S::Ease(map.next_value()?),
            "geometric" => S::Geometric(map.next_value()?),
            "power_law" => S::PowerLaw(map.next_value()?),
            "seq" => S::Seq(map.next_value()?),
            "repeat" => S::Repeat(map.next_value()?),
            "stair" => S::Stair(map.next_value()?),
            "shift" => S::Shift(map.next_value()?),
            "product" => S::Product { factors: map.next_value::<Factors>()?.factors },
            "sum" => S::Sum { terms: map.next_value::<Terms>()?.terms },
            "clamp" => S::Clamp(map.next_value()?),
            "pace" => S::Pace(map.next_value()?),
            "chain" => S::Chain(map.next_value()?),
            "library" => S::Library(map.next_value()?),
            _ => S::Named(NamedForm { form, params: map.next_value()? }),
        };
        match map.next_key::<String>()? {
            None => Ok(schedule),
            Some(second) => Err(serde::de::Error::custom(format_args!("a schedule has one form, not {second} too"))),
        }
    }
}

/// A scheduler of another library, in that library's words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LibrarySchedule {
    /// The scheduler and its arguments.
    #[serde(flatten)]
    pub call: LibraryCall,
    /// The unit that the scheduler counts in.
    #[serde(default)]
    pub unit: Unit,
    /// How many samples or tokens a step takes, if the unit is one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units_per_step: Option<u64>,
}

/// The unit that a library's scheduler counts in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Optimizer updates.
    #[default]
    Step,
    /// Whole epochs of training.
    Epoch,
    /// Samples.
    Sample,
    /// Tokens.
    Token,
}

/// `lerp(start, end, e(t / over))`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Ease {
    pub start: ScheduleSpec,
    pub end: ScheduleSpec,
    pub over: f64,
    pub shape: Shape,
    pub past: Past,
    pub warp: f64,
}

/// The curve of an ease from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "described in the proto")]
pub enum Shape {
    #[default]
    Linear,
    Cosine,
    CosinePower(f64),
    Poly(f64),
    Power(f64),
    OneMinusSqrt,
    Exp(f64),
    Tanh {
        lower: f64,
        upper: f64,
    },
    Log(f64),
}

/// What an ease does after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Past {
    /// Stays at the end value.
    #[default]
    Hold,
    /// Follows the formula further.
    Continue,
}

/// `value * rate^(t / every)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Geometric {
    pub value: ScheduleSpec,
    pub rate: f64,
    pub every: f64,
}

/// `value * (1 + t / tau)^-exponent`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct PowerLaw {
    pub value: ScheduleSpec,
    pub tau: f64,
    pub exponent: f64,
}

/// Part `i` from boundary `i - 1` on, in its own time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Sequence {
    pub boundaries: Vec<f64>,
    pub parts: Vec<ScheduleSpec>,
}

/// `body` on `[0, 1)` in cycles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Repeat {
    pub body: ScheduleSpec,
    pub first: f64,
    pub growth: f64,
    pub scale: f64,
    pub limit: Option<u64>,
    pub after: ScheduleSpec,
}

/// `schedule` at `floor(t / every) * every`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Stair {
    pub schedule: ScheduleSpec,
    pub every: f64,
}

/// `schedule` at `max(t + steps, 0)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Shift {
    pub schedule: ScheduleSpec,
    pub steps: f64,
}

/// `schedule` within bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Clamp {
    pub schedule: ScheduleSpec,
    pub min: Option<ScheduleSpec>,
    pub max: Option<ScheduleSpec>,
}

/// `schedule` at `t * units / steps`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Pace {
    pub schedule: ScheduleSpec,
    pub units: u64,
    pub steps: u64,
    pub whole: bool,
    pub unit: Option<Unit>,
}

/// Schedulers that change one rate in turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Chain {
    pub links: Vec<ChainLink>,
    pub steps: u64,
}

/// One scheduler of a chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct ChainLink {
    pub schedule: ScheduleSpec,
    pub floor: f64,
    pub running: bool,
    pub resets: Vec<u64>,
    pub always_resets: bool,
}

impl Default for Ease {
    fn default() -> Self {
        Self {
            start: ScheduleSpec::Base(1.0),
            end: ScheduleSpec::Constant(0.0),
            over: 0.0,
            shape: Shape::Linear,
            past: Past::Hold,
            warp: 1.0,
        }
    }
}

impl Default for Geometric {
    fn default() -> Self {
        Self { value: ScheduleSpec::Base(1.0), rate: 0.0, every: 1.0 }
    }
}

impl Default for PowerLaw {
    fn default() -> Self {
        Self { value: ScheduleSpec::Base(1.0), tau: 0.0, exponent: 0.0 }
    }
}

impl Default for Repeat {
    fn default() -> Self {
        Self {
            body: ScheduleSpec::Missing,
            first: 0.0,
            growth: 1.0,
            scale: 1.0,
            limit: None,
            after: ScheduleSpec::Constant(0.0),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { schedule: ScheduleSpec::Missing, units: 1, steps: 1, whole: false, unit: None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<ScheduleSpec, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn what_is_no_form_of_the_algebra_is_a_named_form() {
        let written = json!({"sum": {"terms": [{"base": 0.5}, {"cosine": {"decay_steps": 9}}]}});
        let schedule = read(written.clone()).unwrap();
        let cosine = ScheduleSpec::named("cosine", json!({"decay_steps": 9}));
        assert_eq!(schedule, ScheduleSpec::Sum { terms: vec![ScheduleSpec::Base(0.5), cosine] });
        assert_eq!(serde_json::to_value(&schedule).unwrap(), written);
    }

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_required_is_missing() {
        let schedule = read(json!({"repeat": {"first": 3.0}})).unwrap();
        assert_eq!(schedule, ScheduleSpec::Repeat(Box::new(Repeat { first: 3.0, ..Repeat::default() })));
        assert_eq!(read(json!({"stair": {"schedule": null}})).unwrap(), read(json!({"stair": {}})).unwrap());
        assert_eq!(read(json!({})).unwrap(), ScheduleSpec::Missing);
        assert_eq!(read(serde_json::to_value(ScheduleSpec::Missing).unwrap()).unwrap(), ScheduleSpec::Missing);
    }

    #[test]
    fn a_field_that_does_not_exist_and_a_second_form_are_refused() {
        assert!(read(json!({"ease": {"length": 3.0}})).unwrap_err().to_string().contains("unknown field `length`"));
        assert!(read(json!({"base": 1.0, "constant": 1.0})).is_err());
    }
}
