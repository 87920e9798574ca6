"""An Optuna study over base rate, schedule and warm-up, and the jobs that validate its best trial.

Run `lrs sweep study -n examples --every 100 --interval 20ms --linger 5s` beside it to prune trials that fall behind. These
trainings take seconds, so reports are sent at once; a training of hours does not need that.
"""

import lrs.optuna
import numpy as np
import optuna
from sklearn.datasets import load_digits

STEPS = 1000
TRIALS = 15
HASTE = lrs.Options(flush_interval=0.01)

digits = load_digits()
images, labels = digits.data / 16, digits.target
order = np.random.default_rng(0).permutation(len(images))
train, held_out = order[:1200], order[1200:]


def losses_and_gradient(weights, rows):
    scores = images[rows] @ weights
    scores -= scores.max(axis=1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    misses = np.exp(logs)
    misses[np.arange(len(rows)), labels[rows]] -= 1
    return -logs[np.arange(len(rows)), labels[rows]].mean(), images[rows].T @ misses / len(rows)


def fit(scheduler, seed, after_step=lambda: None):
    """Logistic regression by stochastic gradient descent. Returns the loss on the held-out data."""
    rng = np.random.default_rng(seed)
    weights = np.zeros((64, 10))
    for _ in range(STEPS):
        loss, gradient = losses_and_gradient(weights, rng.choice(train, 256))
        weights -= scheduler.learning_rate * gradient
        scheduler.step(float(loss), float(np.linalg.norm(gradient)))
        after_step()
    return float(losses_and_gradient(weights, held_out)[0])


jobs = lrs.optuna.TrialJobs("examples/study", total_steps=STEPS, spec={"commit_ahead": 8}, options=HASTE)


def objective(trial):
    options = jobs.options_of(
        trial,
        groups=lrs.optuna.suggest_base_lr(trial, 1e-3, 100),
        schedule=lrs.optuna.suggest_schedule(trial, total_steps=STEPS),
        seed=trial.number,
    )
    with lrs.Scheduler(**options) as scheduler:
        return fit(scheduler, trial.number, lambda: jobs.check(trial, scheduler))


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
study.optimize(objective, n_trials=TRIALS, callbacks=[jobs])
states = [trial.state.name for trial in study.trials]
print(f"{states.count('COMPLETE')} trials complete, {states.count('PRUNED')} pruned; best {study.best_params}")

# With new seeds: the best of many trials may have been lucky.
for job in jobs.validate(study, seeds=range(100, 103)):
    with lrs.Scheduler(job.name) as scheduler:
        print(f"{job.arm:13} seed {job.seed}: held-out loss {fit(scheduler, job.seed):.4f}")
