//! The closed loop: state machines that turn telemetry into moves of the base rates.
//!
//! A [`Controller`] holds its checked parameters and never changes. Everything that it remembers is in a [`State`], a
//! value that is stored, replayed and compared. [`Controller::observe`] is a transition over these values: the same
//! samples in the same order give the same states and moves, bit for bit.
//!
//! A controller is one file, which implements [`Kind`], and one row below.

pub mod auto;
pub mod compat;
mod epochs;
pub mod greedy;
mod judge;
pub mod keras_plateau;
mod kind;
pub mod noise_scale;
pub mod optax_plateau;
mod params;
pub mod plateau;
pub mod proportion;
pub mod range_test;
mod registry;
pub mod shape;
mod sightings;
pub mod statistical_plateau;
pub mod threshold;
mod units;
mod wording;
mod words;
mod written;

use lrs_model::{controller::ControllerSpec, spec::Spec, violation::Violations};

pub use kind::Kind;
pub use registry::params;
pub use sightings::Sightings;
pub use units::{is_evaluation, unit_of};
pub use words::{Advice, Move, Observation, Opening, Outcome, Ruling, Setting, Status};
pub use written::{OBJECTIVE, all, complete, expand, name, settled, unsettled};

registry::controllers! {
    Plateau = plateau::Plateau,
    KerasPlateau = keras_plateau::KerasPlateau,
    OptaxPlateau = optax_plateau::OptaxPlateau,
    Greedy = greedy::Greedy,
    Auto = auto::Auto,
    RangeTest = range_test::RangeTest,
    StatisticalPlateau = statistical_plateau::StatisticalPlateau,
    NoiseScale = noise_scale::NoiseScale,
    Threshold = threshold::Threshold,
}

impl Controller {
    /// Checks `spec` for a job with this `setting`.
    ///
    /// Adds everything that is wrong to `violations`, with paths such as `reduce_lr_on_plateau.factor`, and then
    /// returns `None`. `proto/lrs/v1/controller.proto` gives the ranges.
    pub fn try_new(spec: &ControllerSpec, setting: &Setting, violations: &mut Violations) -> Option<Self> {
        if spec.kind() == compat::LIBRARY {
            let native = compat::translate(spec, setting.steps_per_epoch, violations)?.controller;
            return violations.within("params", |v| Self::native(&native, setting, v));
        }
        violations.within(spec.kind(), |v| Self::native(spec, setting, v))
    }

    /// What the controller of a job with this `spec` is doing, and what it lacks by the `sightings` of its metrics;
    /// empty if the state is of another kind.
    #[must_use]
    pub fn status(&self, state: &State, sightings: &Sightings, spec: &Spec) -> Status {
        let watched = self.metrics();
        let mut absent: Vec<(sightings::Absence, String, Vec<&str>)> = Vec::new();
        for metric in &watched {
            let Some(absence) = sightings.absence(metric, &watched, spec) else { continue };
            let Some(consequence) = self.without(state, metric) else { continue };
            match absent.iter_mut().find(|(known, same, _)| *known == absence && *same == consequence) {
                Some((_, _, metrics)) => metrics.push(metric),
                None => absent.push((absence, consequence, vec![metric])),
            }
        }
        let missing = absent.iter().map(|(absence, consequence, metrics)| absence.in_words(metrics, consequence));
        let is_blind = absent.iter().flat_map(|(.., metrics)| metrics).any(|metric| self.needs(metric));
        Status { missing: missing.collect(), is_blind, ..self.activity(state) }
    }

    /// Checks a spec in our own words; the paths of violations start at its parameters.
    fn native(spec: &ControllerSpec, setting: &Setting, v: &mut Violations) -> Option<Self> {
        let Some(row) = ROWS.iter().find(|row| row.name == spec.kind()) else {
            let names: Vec<_> = kinds().collect();
            v.add("", lrs_model::library::unknown("controller", spec.kind(), &names));
            return None;
        };
        let completed = (row.complete)(spec).map(|spec| units::with_unit(spec, setting.steps_per_epoch));
        (row.try_new)(completed.as_ref().unwrap_or(spec), setting, v)
    }
}

/// The name of every kind of controller.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}
