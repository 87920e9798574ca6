"""The keyword arguments of a scheduler. Every integration takes its arguments from these lists.

A type checker rejects a misspelt keyword and a value of a wrong type. At run time, `check_arguments` rejects a misspelt
keyword. An argument that is left out has its default. `None` means the default too, where the type allows `None`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from lrs.errors import UsageError
from lrs.options import Options, check_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["ControllerArguments", "JobArguments", "SchedulerArguments", "TrialArguments", "TrialSchedulerArguments"]


class ControllerArguments(TypedDict, total=False):
    """The arguments that let telemetry change the rates."""

    controller: str | None
    """`"auto"`: the recommended closed loop. Default: none."""
    controllers: Sequence[Mapping[str, Any] | str] | Mapping[str, Any] | str | None
    """Controllers, written as in a job file: `["reduce_lr_on_plateau"]`, or with parameters as dictionaries. Default: none."""


class JobArguments(ControllerArguments, total=False):
    """The arguments of schedulers and callbacks that read the base rates from an optimizer."""

    server: str | None
    """`http://HOST:PORT`, or `https://HOST:PORT` for TLS. Default: `LRS_SERVER`, or else `http://127.0.0.1:50051`."""
    total_steps: int | str | None
    """The number of optimizer updates in the whole training, or its length in words: `"90ep"`, `"3e9tok"`."""
    target_epochs: float | None
    """The length of the training in epochs, in place of `total_steps`. Needs `steps_per_epoch`."""
    steps_per_epoch: int | None
    """The number of optimizer updates in an epoch. With it, plateau controllers over the loss count epochs."""
    tokens_per_step: int | None
    """The number of tokens in an optimizer update, for lengths in tokens."""
    schedule: Mapping[str, Any] | str | None
    """A schedule, written as in a job file: `"cosine"`, `"linear"` or `"wsd"`; with parameters `{"wsd": {"decay_steps": 100}}`,
    or `{"library": "torch", "scheduler": "StepLR", …}`.
    Lengths may be in words: `{"warmup": {"warmup_steps": "5%"}}`.

    Default: the base rate at every step.
    """
    spec: Mapping[str, Any] | None
    """Other fields of a job file's `spec`."""
    tier: int | None
    """What the trainer can do. 0: set rates; 1: also clip the gradient; 2: also keep and restore copies. Default: 0."""
    decision_lag: int | None
    """The directive of step k depends on telemetry up to step k - `decision_lag`. Default: 1."""
    objective: Mapping[str, Any] | str | None
    """The metric that the job is judged by, such as `"val_loss"` or `"val_accuracy"`, or with a target
    `{"metric": "val_loss", "target": 0.1}`. Default: the loss."""
    experiment: str | None
    """The name of the experiment. The service compares the jobs of an experiment."""
    arm: str | None
    """The job's side in the experiment: `scheduled` or `baseline`."""
    seed: int | None
    """The random seed of the run."""
    labels: Mapping[str, str] | None
    """Labels to find the job by."""
    resume_step: int
    """The first step to train, if there is no state for `Scheduler.load_state_dict`. Default: 0."""
    attempt_token: str | None
    """The name of the attempt: equal in all its processes, different after a restart. Default: a new one for each start of
    the processes, which they share."""
    deadline: float
    """How long a step may wait for the service, in seconds. Default: that of `options`, 0.05."""
    strict: bool
    """Whether `step` raises an exception when the service is away. Default: that of `options`, `False`."""
    require_server: bool
    """Whether making a scheduler raises an exception if the service is away. Default: that of `options`, `False`."""
    complete: bool
    """Whether `close` completes the job once all of its `total_steps` are trained. Default: `True`."""
    start_timeout: float
    """How long making a scheduler may wait for the service, in seconds. Default: that of `options`, 5."""
    close_timeout: float
    """How long `close` may wait for the service, in seconds. Default: that of `options`, 5."""
    options: Options | None
    """The client's other settings: bounds of memory and of the spill file, backoff, TLS, metadata."""


class SchedulerArguments(JobArguments, total=False):
    """All arguments of `lrs.Scheduler` but the job's name."""

    groups: Mapping[str, float] | float | None
    """The base learning rate, or the rate of each parameter group by its name. Default: those of the registered job."""


class _Named(TypedDict):
    job: str
    """The job's name."""


class TrialArguments(_Named, JobArguments):
    """A trial's arguments for the scheduler or callback of an integration."""


class TrialSchedulerArguments(_Named, SchedulerArguments):
    """A trial's arguments for `lrs.Scheduler`."""


def check_arguments(given: Mapping[str, object], known: type[Any], made_by: Callable[..., None]) -> None:
    """Raise `ArgumentError` if a keyword in `given` is neither in the class `known` nor a keyword of `made_by`.

    `made_by` is the `__init__` that got the keywords. The message names its class.
    """
    names = known.__required_keys__ | known.__optional_keys__ | set(made_by.__kwdefaults__ or ())
    check_names(made_by.__qualname__.partition(".")[0], given, names)


def bounds(arguments: JobArguments) -> Options:
    """The `options` among the arguments; a bound that is an argument itself takes the place of theirs."""
    options = arguments.get("options") or Options()
    if not isinstance(options, Options):
        raise UsageError(f"options must be lrs.Options(…), such as lrs.Options(deadline=0.1), and was {options!r:.60}.")
    return replace(
        options,
        deadline=arguments.get("deadline", options.deadline),
        strict=arguments.get("strict", options.strict),
        require_server=arguments.get("require_server", options.require_server),
        start_timeout=arguments.get("start_timeout", options.start_timeout),
        close_timeout=arguments.get("close_timeout", options.close_timeout),
    )
