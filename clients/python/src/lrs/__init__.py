"""The trainer's client of lrs, the learning-rate service.

`lrs.Scheduler` is the core. `lrs.torch`, `lrs.transformers`, `lrs.lightning`, `lrs.jax`, `lrs.keras` and `lrs.accelerate`
connect it to those libraries; import the module of your library by its name.
"""

from lrs import quiet as _quiet
from lrs.attempt import attempt_token
from lrs.backoff import Backoff
from lrs.errors import (
    ArgumentError,
    JobEndedError,
    JobNotFoundError,
    LrsError,
    MetricError,
    NotDurableError,
    RefusedError,
    ResumeError,
    StepError,
    UnreachableError,
    UsageError,
    VersionMismatchError,
)
from lrs.options import Options
from lrs.rates import Action, Directive, Standing
from lrs.run import Run, init
from lrs.scheduler import Scheduler

del _quiet

__version__ = "0.1.0"

__all__ = [
    "Action",
    "ArgumentError",
    "Backoff",
    "Directive",
    "JobEndedError",
    "JobNotFoundError",
    "LrsError",
    "MetricError",
    "NotDurableError",
    "Options",
    "RefusedError",
    "ResumeError",
    "Run",
    "Scheduler",
    "Standing",
    "StepError",
    "UnreachableError",
    "UsageError",
    "VersionMismatchError",
    "__version__",
    "attempt_token",
    "init",
]
