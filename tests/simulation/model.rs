//! The model of a trainer of tier 2: a weight that falls into a valley, whose walls may become steeper on the way. The
//! trainer keeps copies of the weight as it is told; they die with the trainer.

use std::collections::BTreeMap;

use lrs_engine::Directive;
use lrs_model::decision::Action;

/// The part of the model that all trainers of a job share.
#[derive(Clone, Copy, Debug)]
pub struct Valley {
    /// From this step on the gradient is this many times as large, so that the rate that was right becomes too high.
    pub steeper: (u64, f64),
    pub noise: f64,
    /// Steps between two evaluations; 0 for no evaluations.
    pub evaluates_every: u64,
}

/// A trainer's state.
pub struct Model {
    valley: Valley,
    weight: f64,
    copies: BTreeMap<String, f64>,
}

/// The result of a step.
pub struct Trained {
    pub loss: f64,
    pub grad_norm: f64,
    pub evaluation: Option<f64>,
}

impl Model {
    pub fn new(valley: Valley, weight: f64) -> Self {
        Self { valley, weight, copies: BTreeMap::new() }
    }

    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Loses the copies, as when a process dies.
    pub fn lose_copies(&mut self) {
        self.copies.clear();
    }

    /// Carries out an action before a step.
    ///
    /// # Errors
    /// The name of the copy to restore, if the trainer does not have it.
    pub fn obey(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Keep(copy) => drop(self.copies.insert(copy.clone(), self.weight)),
            Action::Restore(copy) => self.weight = *self.copies.get(copy).ok_or_else(|| copy.clone())?,
            Action::Forget(copy) => drop(self.copies.remove(copy)),
        }
        Ok(())
    }

    /// One step of gradient descent. `noise` lies in `[-1, 1]`.
    pub fn train(&mut self, directive: &Directive, noise: f64) -> Trained {
        let (from, factor) = self.valley.steeper;
        let curvature = if directive.step >= from { factor } else { 1.0 };
        let noise = self.valley.noise * noise;
        let loss = |weight: f64| 0.5 * curvature * weight * weight + 0.1;
        let gradient = curvature * self.weight + noise;
        let trained = Trained { loss: loss(self.weight) + 0.1 * noise, grad_norm: gradient.abs(), evaluation: None };
        let bound = directive.told.bound;
        let clipped = bound.clip_norm.map_or(gradient, |norm| gradient.clamp(-norm, norm));
        if bound.skip_above_norm.is_none_or(|norm| gradient.abs() <= norm) {
            self.weight -= directive.rates[0].learning_rate * clipped;
        }
        let evaluates = self.valley.evaluates_every > 0 && directive.step.is_multiple_of(self.valley.evaluates_every);
        Trained { evaluation: evaluates.then(|| loss(self.weight) + 0.1 * noise), ..trained }
    }
}
