//! A trainer's process: a plain training loop that asks the service for the rate of each step and reports the loss.

use std::time::Duration;

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Handle;

use super::{
    data::{Digits, Image},
    error::Error,
    experiment::{BATCH, EPOCHS, MOMENTUM, STEPS_PER_EPOCH, VAL_ACCURACY, VAL_LOSS},
    network::Network,
    say::say,
};
use lrs_client::{Options, Sample, Trainer};

/// A step takes about a millisecond here, so a busy machine is easily late by many steps; waiting longer than a trainer
/// usually would makes the demo's result depend on its seeds alone.
const DEADLINE: Duration = Duration::from_millis(500);

/// Trains one job to its end.
///
/// # Errors
/// If the server is unreachable or refuses, or the record of the training is not durable at the end.
pub async fn train(server: &str, job: &str, seed: u64) -> Result<(), Error> {
    let digits = Digits::load()?;
    let token = uuid::Uuid::now_v7().to_string();
    let options = Options { deadline: DEADLINE, ..Options::default() };
    let trainer = Trainer::connect(server, job, &token, 0, options).await?;
    let runtime = Handle::current();
    // Training computes, so it has a thread of its own beside those that talk to the server.
    let training = tokio::task::spawn_blocking(move || train_on(&digits, seed, trainer, &runtime));
    let trainer = training.await.map_err(Error::Training)??;
    let fallback = trainer.finish().await?.fallback;
    if fallback.count() > 0 {
        say(&format!("{} steps went on with the plan: {:?}", fallback.count(), fallback.stretches()));
    }
    Ok(())
}

fn train_on(digits: &Digits, seed: u64, mut trainer: Trainer, runtime: &Handle) -> Result<Trainer, Error> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut network = Network::new(MOMENTUM, &mut random);
    let mut images: Vec<&Image> = digits.training.iter().collect();
    for epoch in 0..EPOCHS {
        images.shuffle(&mut random);
        for (batch, step) in images.chunks_exact(BATCH).zip(epoch * STEPS_PER_EPOCH..) {
            let learning_rate = runtime.block_on(trainer.directive(step)).learning_rate();
            let update = network.train(batch, learning_rate);
            let is_last_of_epoch = (step + 1) % STEPS_PER_EPOCH == 0;
            let metrics = if is_last_of_epoch { evaluate(&network, digits) } else { Vec::new() };
            let grad_norm = Some(update.grad_norm);
            trainer.report(Sample { step, loss: update.loss, grad_norm, learning_rate, metrics })?;
        }
    }
    Ok(trainer)
}

fn evaluate(network: &Network, digits: &Digits) -> Vec<(String, f64)> {
    let evaluation = network.evaluate(&digits.validation);
    vec![(VAL_LOSS.to_owned(), evaluation.loss), (VAL_ACCURACY.to_owned(), evaluation.accuracy)]
}
