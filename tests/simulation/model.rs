//! What a trainer of tier 2 trains: a weight that falls into a valley, whose walls may become steeper on the way; and
//! the copies of it that the trainer keeps as it is told. They die with the trainer.

use std::collections::BTreeMap;

use lrs_engine::Directive;
use lrs_model::decision::Action;

/// What is the same for all trainers of a job.
#[derive(Clone, Copy, Debug)]
pub struct Valley {
    /// From this step on a gradient is so many times as large: the rate that was right becomes too high.
    pub steeper: (u64, f64),
    pub noise: f64,
    /// Steps between two evaluations; 0 for none at all.
    pub evaluates_every: u64,
}

/// A trainer's state.
pub struct Model {
    valley: Valley,
    weight: f64,
    copies: BTreeMap<String, f64>,
}

/// What came of a step.
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

    /// The copies are lost, as they are when a process dies.
    pub fn lose_copies(&mut self) {
        self.copies.clear();
    }

    /// Does what it is told before a step.
    ///
    /// # Errors
    /// The copy that it is to go back to and does not have.
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
