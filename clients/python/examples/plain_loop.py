"""The core alone: a line fitted by gradient descent, without any library."""

import random

import lrs

STEPS = 300

random.seed(0)
slope = 0.0
with lrs.Scheduler(
    "examples/plain-loop",
    groups=0.05,
    total_steps=STEPS,
    schedule={"warmup": {"warmup_steps": 20, "schedule": {"cosine": {}}}},
) as scheduler:
    for _ in range(STEPS):
        x = random.gauss(0, 1)
        error = slope * x - 3 * x
        slope -= scheduler.learning_rate * 2 * error * x
        scheduler.step(error**2, grad_norm=abs(2 * error * x))
print(f"slope {slope:.3f}, which was 3; {scheduler.fallback_steps.count} steps on the plan")
