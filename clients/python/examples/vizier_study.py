"""A Vizier study over base rate, schedule and warm-up. optuna_study.py shows how to validate the best trial."""

import uuid

import lrs.study
import numpy as np
from sklearn.datasets import load_digits
from vizier.service import clients, pyvizier

STEPS = 500
TRIALS = 8

digits = load_digits()
images, labels = digits.data / 16, np.eye(10)[digits.target]


def fit(scheduler, seed):
    """Least squares by stochastic gradient descent. Returns the last loss, and the advice that ended the training early."""
    rng = np.random.default_rng(seed)
    weights, loss = np.zeros((64, 10)), 1.0
    for _ in range(STEPS):
        rows = rng.choice(len(images), 64)
        misses = images[rows] @ weights - labels[rows]
        loss = float((misses**2).mean())
        weights -= scheduler.learning_rate * images[rows].T @ misses / len(rows)
        scheduler.step(loss)
        if scheduler.stop_advice:
            return loss, scheduler.stop_advice
    return loss, ""


space = pyvizier.StudyConfig(algorithm="RANDOM_SEARCH")
space.search_space.root.add_float_param("base_lr", 1e-4, 0.1, scale_type=pyvizier.ScaleType.LOG)
space.search_space.root.add_categorical_param("schedule", ["none", "cosine", "linear", "wsd"])
space.search_space.root.add_float_param("warmup_share", 0.0, 0.2)
space.metric_information.append(pyvizier.MetricInformation("loss", goal=pyvizier.ObjectiveMetricGoal.MINIMIZE))

# Vizier keeps its studies in a file, so each run needs a new study.
study = clients.Study.from_study_config(space, owner="examples", study_id=f"vizier-{uuid.uuid4()}")
jobs = lrs.study.Study("examples/vizier", total_steps=STEPS, spec={"commit_ahead": 8})
for _ in range(TRIALS):
    (trial,) = study.suggest(count=1)
    schedule = lrs.study.schedule_of(trial.parameters, total_steps=STEPS)
    options = jobs.options(trial.id, groups=trial.parameters["base_lr"], schedule=schedule)
    with lrs.Scheduler(**options) as scheduler:
        loss, advice = fit(scheduler, trial.id)
    # A trial that was stopped early counts with its last loss.
    trial.complete(pyvizier.Measurement({"loss": loss}, steps=STEPS))
    jobs.end(trial.id, "CANCELLED" if advice else "COMPLETED", advice)
(best,) = study.optimal_trials()
best = best.materialize()
print(
    f"best {best.parameters.as_dict()} with loss {best.final_measurement.metrics['loss'].value:.4f}: {jobs.job(best.id)}"
)
