//! The guard's detection of a divergence, for other controllers.

use serde::{Deserialize, Serialize};

use super::{
    finite::{FiniteState, Seen},
    guard::{GuardState, Sight},
};

/// Detects a divergence as the guard does, in a training of so many steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Divergence {
    total_steps: Option<u64>,
}

/// What is remembered of the losses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DivergenceState {
    guard: GuardState,
    finite: FiniteState,
}

/// A divergence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Diverged {
    /// The median loss now, the lowest before, and its robust deviation.
    High { median: f64, lowest: f64, deviation: f64 },
    /// No loss has been finite since this step.
    NotFinite { since: u64 },
}

impl Divergence {
    pub(crate) fn new(total_steps: Option<u64>) -> Self {
        Self { total_steps }
    }

    /// Takes in the loss of a step, and whether its update was left out.
    pub(crate) fn observe(
        self,
        state: &mut DivergenceState,
        step: u64,
        loss: f64,
        is_skipped: bool,
    ) -> Option<Diverged> {
        match state.finite.observe(step, loss, is_skipped) {
            Seen::Loss(loss) => match state.guard.observe_loss(step, loss, self.total_steps, false) {
                Sight::Diverged { median, lowest, deviation, .. } => Some(Diverged::High { median, lowest, deviation }),
                Sight::Fine | Sight::Copy(_) => None,
            },
            Seen::Lost { since } | Seen::NeverFinite { since } => Some(Diverged::NotFinite { since }),
            Seen::Missing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loss at which a divergence is found.
    fn found(losses: impl IntoIterator<Item = f64>) -> Option<(u64, Diverged)> {
        let mut state = DivergenceState::default();
        let divergence = Divergence::new(Some(1000));
        (0..).zip(losses).find_map(|(step, loss)| Some((step, divergence.observe(&mut state, step, loss, false)?)))
    }

    #[test]
    fn a_few_losses_that_are_not_finite_are_no_divergence_and_many_are() {
        let noise = |step: i32| 1.0 + 0.01 * f64::from(step % 5);
        let spikes = (0..300).map(|step| if step % 8 == 3 { f64::NAN } else { noise(step) });
        assert_eq!(found(spikes), None);
        let blown = (0..300).map(|step| if step < 100 { noise(step) } else { f64::INFINITY });
        let (step, diverged) = found(blown).unwrap();
        assert!((100..116).contains(&step), "{step}");
        assert_eq!(diverged, Diverged::NotFinite { since: 100 });
        assert_eq!(found([f64::NAN; 100]).map(|(_, diverged)| diverged), Some(Diverged::NotFinite { since: 0 }));
    }

    #[test]
    fn a_loss_far_above_its_lowest_is_a_divergence_of_any_size_and_also_below_zero() {
        let losses = (0..300).map(|step| if step < 100 { -2.0 - 0.001 * f64::from(step % 7) } else { 3.0 });
        let (_, diverged) = found(losses).unwrap();
        assert!(matches!(diverged, Diverged::High { median, lowest, .. } if median > lowest), "{diverged:?}");
        assert_eq!(found(vec![5.0; 300]), None);
        assert_eq!(found((0..300).map(|step| 1e18 * (1.0 - 0.003 * f64::from(step)))), None);
    }
}
