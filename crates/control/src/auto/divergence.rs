//! The guard's detection of a divergence, for other controllers.

use serde::{Deserialize, Serialize};

use super::{
    guard::{GuardState, Sight},
    terms::BLOWN_LOSS,
};

/// Detects a divergence as the guard does, in a training of so many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Divergence {
    total_steps: Option<u64>,
}

/// What is remembered of the losses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DivergenceState(GuardState);

/// A divergence: the median loss now, the lowest before, and its robust deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Diverged {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) deviation: f64,
}

impl Divergence {
    pub(crate) fn new(total_steps: Option<u64>) -> Self {
        Self { total_steps }
    }

    /// Takes in a loss. A loss that is not finite counts as a very high one.
    pub(crate) fn observe(self, state: &mut DivergenceState, step: u64, loss: f64) -> Option<Diverged> {
        let loss = if loss.is_finite() { loss.min(BLOWN_LOSS) } else { BLOWN_LOSS };
        match state.0.observe_loss(step, loss, self.total_steps, false) {
            Sight::Diverged { median, lowest, deviation, .. } => Some(Diverged { median, lowest, deviation }),
            Sight::Fine | Sight::Copy(_) => None,
        }
    }
}

impl Diverged {
    /// Whether most of the last losses were not finite, or as good as that.
    pub(crate) fn is_blown(self) -> bool {
        // The median of an even number lies in the middle.
        self.median >= BLOWN_LOSS / 4.0
    }

    /// Whether any median of the losses was finite.
    pub(crate) fn has_been_finite(self) -> bool {
        self.lowest < BLOWN_LOSS / 4.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loss at which a divergence is found.
    fn found(losses: impl IntoIterator<Item = f64>) -> Option<(u64, Diverged)> {
        let mut state = DivergenceState::default();
        let divergence = Divergence::new(Some(1000));
        (0..).zip(losses).find_map(|(step, loss)| Some((step, divergence.observe(&mut state, step, loss)?)))
    }

    #[test]
    fn a_few_losses_that_are_not_finite_are_no_divergence_and_many_are() {
        let noise = |step: i32| 1.0 + 0.01 * f64::from(step % 5);
        let spikes = (0..300).map(|step| if step % 8 == 3 { f64::NAN } else { noise(step) });
        assert_eq!(found(spikes), None);
        let blown = (0..300).map(|step| if step < 100 { noise(step) } else { f64::INFINITY });
        let (step, diverged) = found(blown).unwrap();
        assert!((100..116).contains(&step) && diverged.is_blown(), "{step} {diverged:?}");
    }

    #[test]
    fn a_loss_far_above_its_lowest_is_a_divergence_also_below_zero() {
        let losses = (0..300).map(|step| if step < 100 { -2.0 - 0.001 * f64::from(step % 7) } else { 3.0 });
        let (_, diverged) = found(losses).unwrap();
        assert!(!diverged.is_blown() && diverged.median > diverged.lowest, "{diverged:?}");
        assert_eq!(found(vec![5.0; 300]), None);
    }
}
