//! A small neural network, written plainly: one hidden layer, softmax cross entropy, stochastic gradient descent with
//! momentum.
//!
//! First weights: He et al., "Delving Deep into Rectifiers", 2015, <https://arxiv.org/abs/1502.01852>.
//! Momentum as in PyTorch: `velocity = momentum * velocity + gradient`, `weights -= rate * velocity`.

use rand::Rng;

use super::data::{CLASSES, Image, PIXELS};
use lrs_model::number::exact;

const HIDDEN: usize = 32;
// All parameters are one vector: hidden weights `[HIDDEN, PIXELS]` row by row, hidden biases, output weights
// `[CLASSES, HIDDEN]`, output biases.
const HIDDEN_BIASES: usize = HIDDEN * PIXELS;
const OUTPUT_WEIGHTS: usize = HIDDEN_BIASES + HIDDEN;
const OUTPUT_BIASES: usize = OUTPUT_WEIGHTS + CLASSES * HIDDEN;
const PARAMETERS: usize = OUTPUT_BIASES + CLASSES;

/// Weights, and what the optimizer remembers of past gradients.
#[derive(Clone, Debug)]
pub struct Network {
    parameters: Vec<f64>,
    velocity: Vec<f64>,
    momentum: f64,
}

/// What an update saw of its batch, before it changed the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// The mean cross entropy, in nats.
    pub loss: f64,
    /// The Euclidean norm of the gradient.
    pub grad_norm: f64,
}

/// How good the network is on some images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// The mean cross entropy, in nats.
    pub loss: f64,
    /// The share of images recognised, from 0 to 1.
    pub accuracy: f64,
}

impl Network {
    /// A network that has learned nothing: uniform weights of variance `2 / inputs`, no biases.
    pub fn new(momentum: f64, random: &mut impl Rng) -> Self {
        let mut parameters = vec![0.0; PARAMETERS];
        let mut fill = |weights: &mut [f64], inputs: usize| {
            let bound = libm::sqrt(6.0 / exact(inputs));
            weights.fill_with(|| random.random_range(-bound..bound));
        };
        fill(&mut parameters[..HIDDEN_BIASES], PIXELS);
        fill(&mut parameters[OUTPUT_WEIGHTS..OUTPUT_BIASES], HIDDEN);
        Self { parameters, velocity: vec![0.0; PARAMETERS], momentum }
    }

    /// Learns from a batch at a learning rate. An empty batch has loss NaN and should not be given.
    pub fn train(&mut self, batch: &[&Image], learning_rate: f64) -> Update {
        let (loss, gradient) = self.loss_and_gradient(batch);
        for ((weight, velocity), slope) in self.parameters.iter_mut().zip(&mut self.velocity).zip(&gradient) {
            *velocity = self.momentum * *velocity + slope;
            *weight -= learning_rate * *velocity;
        }
        let grad_norm = libm::sqrt(gradient.iter().map(|slope| slope * slope).sum());
        Update { loss, grad_norm }
    }

    /// Judges the network; changes nothing. NaN for no images.
    pub fn evaluate(&self, images: &[Image]) -> Evaluation {
        let (mut loss, mut correct) = (0.0, 0_usize);
        for image in images {
            let activations = self.forward(&image.pixels);
            loss += activations.loss_of(image.label);
            correct += usize::from(activations.best_class() == Some(image.label));
        }
        Evaluation { loss: loss / exact(images.len()), accuracy: exact(correct) / exact(images.len()) }
    }

    fn forward(&self, pixels: &[f64; PIXELS]) -> Activations {
        let mut hidden = [0.0; HIDDEN];
        for (unit, value) in hidden.iter_mut().enumerate() {
            let weights = &self.parameters[unit * PIXELS..(unit + 1) * PIXELS];
            *value = (self.parameters[HIDDEN_BIASES + unit] + dot(weights, pixels)).max(0.0);
        }
        let mut logits = [0.0; CLASSES];
        for (class, value) in logits.iter_mut().enumerate() {
            let first = OUTPUT_WEIGHTS + class * HIDDEN;
            *value = self.parameters[OUTPUT_BIASES + class] + dot(&self.parameters[first..first + HIDDEN], &hidden);
        }
        Activations { hidden, log_probabilities: log_softmax(logits) }
    }

    /// The mean over the batch of the cross entropy and of its gradient by every parameter.
    fn loss_and_gradient(&self, batch: &[&Image]) -> (f64, Vec<f64>) {
        let mut gradient = vec![0.0; PARAMETERS];
        let mut loss = 0.0;
        let share = 1.0 / exact(batch.len());
        for image in batch {
            let activations = self.forward(&image.pixels);
            loss += share * activations.loss_of(image.label);
            let mut hidden_error = [0.0; HIDDEN];
            for class in 0..CLASSES {
                let target = if class == image.label { 1.0 } else { 0.0 };
                let error = share * (libm::exp(activations.log_probabilities[class]) - target);
                let first = OUTPUT_WEIGHTS + class * HIDDEN;
                add_scaled(&mut gradient[first..first + HIDDEN], error, &activations.hidden);
                add_scaled(&mut hidden_error, error, &self.parameters[first..first + HIDDEN]);
                gradient[OUTPUT_BIASES + class] += error;
            }
            for unit in (0..HIDDEN).filter(|&unit| activations.hidden[unit] > 0.0) {
                let error = hidden_error[unit];
                add_scaled(&mut gradient[unit * PIXELS..(unit + 1) * PIXELS], error, &image.pixels);
                gradient[HIDDEN_BIASES + unit] += error;
            }
        }
        (loss, gradient)
    }
}

struct Activations {
    hidden: [f64; HIDDEN],
    log_probabilities: [f64; CLASSES],
}

impl Activations {
    fn loss_of(&self, label: usize) -> f64 {
        -self.log_probabilities[label]
    }

    fn best_class(&self) -> Option<usize> {
        (0..CLASSES).max_by(|&a, &b| self.log_probabilities[a].total_cmp(&self.log_probabilities[b]))
    }
}

/// `ln(softmax(logits))`, by way of the largest logit so that nothing overflows.
fn log_softmax(logits: [f64; CLASSES]) -> [f64; CLASSES] {
    let largest = logits.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|logit| libm::exp(logit - largest)).sum();
    let log_total = largest + libm::log(total);
    logits.map(|logit| logit - log_total)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn add_scaled(to: &mut [f64], factor: f64, values: &[f64]) {
    for (sum, value) in to.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::data::Digits;

    fn network(seed: u64) -> Network {
        Network::new(0.9, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        const STEP: f64 = 1e-6;
        let digits = Digits::load().unwrap();
        let batch: Vec<&Image> = digits.training.iter().take(8).collect();
        let network = network(1);
        let (_, gradient) = network.loss_and_gradient(&batch);
        // Some of every part; 37 is coprime to the sizes of all of them.
        for index in (0..PARAMETERS).step_by(37).chain(HIDDEN_BIASES..OUTPUT_WEIGHTS).chain(OUTPUT_BIASES..PARAMETERS) {
            let loss_at = |shift: f64| {
                let mut moved = network.clone();
                moved.parameters[index] += shift;
                moved.loss_and_gradient(&batch).0
            };
            let slope = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
            assert!((slope - gradient[index]).abs() < 1e-7, "parameter {index}: {slope} but {}", gradient[index]);
        }
    }

    #[test]
    fn training_lowers_the_loss_and_recognises_digits() {
        let digits = Digits::load().unwrap();
        let batch: Vec<&Image> = digits.training.iter().take(200).collect();
        let mut network = network(2);
        let before = network.evaluate(&digits.validation);
        for _ in 0..150 {
            network.train(&batch, 0.1);
        }
        let after = network.evaluate(&digits.validation);
        assert!(before.accuracy < 0.4 && after.accuracy > 0.8, "{before:?} to {after:?}");
        assert!(after.loss < 0.5 * before.loss, "{before:?} to {after:?}");
    }

    #[test]
    fn a_seed_gives_the_same_bits_and_another_seed_others() {
        let digits = Digits::load().unwrap();
        let batch: Vec<&Image> = digits.training.iter().take(32).collect();
        let trained = |seed| {
            let mut network = network(seed);
            network.train(&batch, 0.1);
            network.parameters
        };
        assert_eq!(trained(3), trained(3));
        assert_ne!(trained(3), trained(4));
    }

    #[test]
    fn the_softmax_of_huge_logits_stays_finite() {
        let mut logits = [0.0; CLASSES];
        logits[3] = 1e4;
        let log_probabilities = log_softmax(logits);
        assert!(log_probabilities.iter().all(|value| value.is_finite()));
        assert!(log_probabilities[3].abs() < 1e-12);
    }
}
