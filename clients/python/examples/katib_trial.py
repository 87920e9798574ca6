"""A trial of deploy/katib/experiment.yaml. Katib gives it its name, its hyper-parameters and the file for its metrics."""

import argparse
import os

import lrs
import lrs.katib
import lrs.study
import numpy as np
from sklearn.datasets import load_digits

STEPS = 500

parser = argparse.ArgumentParser()
parser.add_argument("--base-lr", type=float, required=True)
parser.add_argument("--schedule", choices=lrs.study.SCHEDULES, required=True)
parser.add_argument("--warmup-share", type=float, default=0.0)
asked = parser.parse_args()

digits = load_digits()
images, labels = digits.data / 16, np.eye(10)[digits.target]
rng = np.random.default_rng(0)
weights = np.zeros((64, 10))
metrics = lrs.katib.Metrics(os.environ.get("METRICS_FILE"))
schedule = lrs.study.schedule_of({"schedule": asked.schedule, "warmup_share": asked.warmup_share}, total_steps=STEPS)
with lrs.Scheduler(
    f"examples/{os.environ['TRIAL_NAME']}",
    groups=asked.base_lr,
    total_steps=STEPS,
    schedule=schedule,
    experiment=os.environ.get("EXPERIMENT_NAME", "katib"),
) as scheduler:
    for step in range(STEPS):
        rows = rng.choice(len(images), 64)
        misses = images[rows] @ weights - labels[rows]
        loss = float((misses**2).mean())
        weights -= scheduler.learning_rate * images[rows].T @ misses / len(rows)
        scheduler.step(loss)
        if step % 10 == 9:
            metrics.report(loss=loss)
        if scheduler.stop_advice:
            break
