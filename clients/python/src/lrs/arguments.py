"""The arguments of a scheduler, by keyword: the one list of them, which every integration takes.

A type checker rejects a keyword that is misspelt or has a value of another type; `check_arguments` does the first at run
time. An argument that is left out, or `None` where that is allowed, has the default that stands below it.
"""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from lrs.errors import ArgumentError
from lrs.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["ControllerArguments", "JobArguments", "SchedulerArguments", "TrialArguments", "TrialSchedulerArguments"]


class ControllerArguments(TypedDict, total=False):
    """What closes the loop from the telemetry to the rates."""

    controller: str | None
    """`"auto"`, the recommended closed loop. Default: none."""
    controllers: Sequence[Mapping[str, Any]] | None
    """Controllers as in a job file. Default: none."""


class JobArguments(ControllerArguments, total=False):
    """The arguments of the schedulers and callbacks that take the base rates from an optimizer."""

    server: str | None
    """`http://HOST:PORT`, or `https://HOST:PORT` for TLS. Default: `LRS_SERVER`, or else `http://127.0.0.1:50051`."""
    total_steps: int | None
    """How many updates the training has."""
    steps_per_epoch: int | None
    """How many updates an epoch has."""
    schedule: Mapping[str, Any] | None
    """As in a job file: `{"cosine": {}}`, or `{"library": "torch", "scheduler": "StepLR", …}`. Default: the base rate."""
    spec: Mapping[str, Any] | None
    """Any further fields of the job file's `spec`."""
    tier: int | None
    """What the trainer can do: 0 set rates, 1 clip to a bound too, 2 keep and restore copies too. Default: 0."""
    decision_lag: int | None
    """The directive of step k depends on no telemetry after step k - `decision_lag`. Default: 1."""
    experiment: str | None
    """The experiment: the service compares the jobs of one."""
    arm: str | None
    """`scheduled` or `baseline`."""
    seed: int | None
    """The random seed of the run."""
    labels: Mapping[str, str] | None
    """Free labels for filtering."""
    resume_step: int
    """The step that is trained first; see also `Scheduler.load_state_dict`. Default: 0."""
    attempt_token: str | None
    """The same for all processes of one attempt, another after each restart. Default: see `lrs.attempt_token`."""
    deadline: float
    """The longest that a step waits for the service, in seconds. Default: that of `options`, 0.05."""
    strict: bool
    """Whether to raise into the loop when the service is away. Default: that of `options`, no."""
    start_timeout: float
    """The longest that making a scheduler waits for the service, in seconds. Default: that of `options`, 5."""
    close_timeout: float
    """The longest that `close` waits for the service, in seconds. Default: that of `options`, 5."""
    options: Options | None
    """All other bounds: memory, the spill file, backoff, TLS, metadata."""


class SchedulerArguments(JobArguments, total=False):
    """All arguments of `lrs.Scheduler` but the job's name."""

    groups: Mapping[str, float] | float | None
    """The base learning rates by parameter group, or one rate. Default: those of a job that is registered."""


class _Named(TypedDict):
    job: str
    """The job's name."""


class TrialArguments(_Named, JobArguments):
    """All arguments for a study's trial, to be unpacked into the scheduler or callback of an integration."""


class TrialSchedulerArguments(_Named, SchedulerArguments):
    """The same with the base rates, to be unpacked into `lrs.Scheduler`."""


def check_arguments(given: Mapping[str, object], known: type[Any], made_by: Callable[..., None]) -> None:
    """Raise `ArgumentError` if a keyword is not in `known`, one of the classes above.

    `made_by` is the `__init__` that was called with it: for its name in the message, and its own keywords.
    """
    names = known.__required_keys__ | known.__optional_keys__ | set(made_by.__kwdefaults__ or ())
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(sorted(names))}."
            raise ArgumentError(f"{made_by.__qualname__.partition('.')[0]} takes no argument {name!r}: {hint}")


def bounds(arguments: JobArguments) -> Options:
    """The `options` among the arguments, with the bounds that are arguments themselves in place of theirs."""
    options = arguments.get("options") or Options()
    return replace(
        options,
        deadline=arguments.get("deadline", options.deadline),
        strict=arguments.get("strict", options.strict),
        start_timeout=arguments.get("start_timeout", options.start_timeout),
        close_timeout=arguments.get("close_timeout", options.close_timeout),
    )
