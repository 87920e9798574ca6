"""What goes wrong around a training, one thing at a time: the scenarios of a bench.

The given rate is a multiple of the best constant one (`given`); nothing else differs from an undisturbed run but what
the scenario says.
"""
import math
import random
from dataclasses import dataclass

SPIKE, SPIKES_AT, SPIKE_STEPS = 1e3, (0.2, 0.45, 0.7), 3
NAN_AT, NAN_STEPS = 0.45, 5
# The shares of a run at which its process is killed, and between the checkpoints it then goes on from.
KILLED_AT, CHECKPOINT_EVERY = (0.25, 0.65), 0.1


@dataclass(frozen=True)
class Scenario:
    given: float = 1.0
    spikes: bool = False  # the gradient times 1000 for 3 steps at 20%, 45% and 70% of the run
    nan_gradients: bool = False  # for 5 steps at 45%
    skipped: float = 0.0  # this share of the updates overflows and is skipped, as a GradScaler does; reported
    nan_losses: float = 0.0  # this share of the losses and gradients is NaN, by bad samples; the update is skipped
    noise: float = 1.0  # the scatter of an evaluation is this many times its own
    evaluations: int | None = None  # how many in a run, in place of the workload's own
    kills: bool = False  # the process is killed at 25% and 65%, and goes on from its last checkpoint, 10% apart
    # What a schedule that looks at nothing reaches is the same as in that scenario.
    as_open: str | None = None

    def disturbances(self, workload, seed, scatter):
        return Disturbances(self, workload, seed, scatter)


SCENARIOS = dict(
    m1=Scenario(), m01=Scenario(given=0.1), m10=Scenario(given=10.0), m30=Scenario(given=30.0),
    spike=Scenario(spikes=True), nan=Scenario(nan_gradients=True),
    skip5=Scenario(skipped=0.05), nan1=Scenario(nan_losses=0.01), nan5=Scenario(nan_losses=0.05),
    noise3=Scenario(noise=3.0, as_open="m1"), evals5=Scenario(evaluations=5, as_open="m1"),
    evals20=Scenario(evaluations=20, as_open="m1"), evals100=Scenario(evaluations=100, as_open="m1"),
    restart2=Scenario(kills=True, as_open="m1"),
)
WRONG_RATES = ("m01", "m10", "m30")
INTERFERENCE = tuple(SCENARIOS)[4:]


class Disturbances:
    """A scenario's disturbances of one run. Those drawn at random are the same for every policy."""

    def __init__(self, scenario, workload, seed, scatter):
        T, self.random = workload.T, random.Random(seed)
        self.factors = {}  # {step: factor of the gradient}
        if scenario.spikes:
            self.factors |= {int(T * share) + i: SPIKE for share in SPIKES_AT for i in range(SPIKE_STEPS)}
        if scenario.nan_gradients:
            self.factors |= {int(T * NAN_AT) + i: math.nan for i in range(NAN_STEPS)}
        self.skipped = {k for k in range(T) if self.random.random() < scenario.skipped}
        self.factors |= dict.fromkeys(self.skipped, math.inf)
        self.nan_losses = {k for k in range(T) if self.random.random() < scenario.nan_losses}
        self.factors |= dict.fromkeys(self.nan_losses, math.nan)
        self.added = math.sqrt(scenario.noise**2 - 1) * scatter
        self.eval_every = max(1, T // scenario.evaluations) if scenario.evaluations else workload.eval_every
        self.checkpoint_every = max(1, int(T * CHECKPOINT_EVERY)) if scenario.kills else None
        self.kills = sorted(int(T * share) for share in KILLED_AT) if scenario.kills else []

    @property
    def is_none(self):
        return not (self.factors or self.added or self.kills)

    def evaluated(self, value):
        """What a controller sees of an evaluation."""
        return value + self.random.gauss(0.0, self.added) if self.added else value
