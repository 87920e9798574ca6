"""Optuna: each trial is a job, the service's advice prunes trials, and the best trial is validated against no schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, overload

import optuna
from optuna.trial import TrialState

from lrs.study import SCHEDULES, Study, ValidationJob, controllers_of, schedule_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from typing_extensions import Unpack

    from lrs.arguments import (
        ControllerArguments,
        JobArguments,
        SchedulerArguments,
        TrialArguments,
        TrialSchedulerArguments,
    )

__all__ = ["Advised", "TrialJobs", "suggest_base_lr", "suggest_controllers", "suggest_schedule"]

#: Attributes of a trial: its job, whether the job has neither schedule nor controllers, and the advice that pruned it.
JOB_ATTRIBUTE = "lrs_job"
UNSCHEDULED_ATTRIBUTE = "lrs_unscheduled"
ADVICE_ATTRIBUTE = "lrs_stop_advice"

_OUTCOMES = {TrialState.COMPLETE: "COMPLETED", TrialState.PRUNED: "CANCELLED", TrialState.FAIL: "FAILED"}


class Advised(Protocol):
    """An object that receives advice to stop: `lrs.Scheduler`, or an integration's scheduler or callback."""

    @property
    def stop_advice(self) -> str:
        """The service's reason to stop training now; empty if it gives none."""


class TrialJobs(Study):
    """The trials of an Optuna study as jobs. As a callback of `study.optimize`, this object ends the jobs."""

    @overload
    def options_of(
        self, trial: optuna.Trial, *, groups: Mapping[str, float] | float | None, **arguments: Unpack[JobArguments]
    ) -> TrialSchedulerArguments: ...

    @overload
    def options_of(self, trial: optuna.Trial, **arguments: Unpack[JobArguments]) -> TrialArguments: ...

    def options_of(
        self, trial: optuna.Trial, **arguments: Unpack[SchedulerArguments]
    ) -> TrialArguments | TrialSchedulerArguments:
        """The arguments of the trial's `lrs.Scheduler`, or of an integration's scheduler; see `Study.options`."""
        made = self.options(trial.number, **arguments)
        spec = made.get("spec") or {}
        steers = ("schedule", "controller", "controllers")
        trial.set_user_attr(JOB_ATTRIBUTE, made["job"])
        trial.set_user_attr(UNSCHEDULED_ATTRIBUTE, not any(made.get(name) or spec.get(name) for name in steers))
        return made

    def check(self, trial: optuna.Trial, scheduler: Advised, *, value: float | None = None, step: int = 0) -> None:
        """End the trial if the service advises to stop. Call this after steps or evaluations, as often as you like.

        Args:
            trial: The trial.
            scheduler: The scheduler or callback that trains it.
            value: The trial's value so far, to report to Optuna. It does not change the decision.
            step: The step of that value.

        Raises:
            optuna.TrialPruned: If the service advises to stop, with its reason.
        """
        if value is not None:
            trial.report(value, step)
        advice = scheduler.stop_advice
        if advice:
            trial.set_user_attr(ADVICE_ATTRIBUTE, advice)
            raise optuna.TrialPruned(advice)

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """End a trial's job as the trial ended. Optuna calls this after each trial."""
        outcome = _OUTCOMES.get(trial.state)
        if outcome is not None and JOB_ATTRIBUTE in trial.user_attrs:
            value = (
                f"value {trial.value!r}" if trial.state is TrialState.COMPLETE and len(study.directions) == 1 else ""
            )
            self.end(trial.number, outcome, trial.user_attrs.get(ADVICE_ATTRIBUTE) or value)

    def validate(
        self, study: optuna.Study, *, seeds: Iterable[int] = range(3), experiment: str | None = None
    ) -> list[ValidationJob]:
        """Register an experiment that compares the best trial with a baseline without schedule; see `Study.validation`.

        The baseline has the base rate of the best trial without schedule and controllers, if the study has such a trial.

        Raises:
            ValueError: If no trial has been completed.
        """
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        unscheduled = [trial for trial in complete if trial.user_attrs.get(UNSCHEDULED_ATTRIBUTE)]
        sign = -1 if study.direction is optuna.study.StudyDirection.MAXIMIZE else 1
        baseline = min(unscheduled, key=lambda trial: sign * (trial.value or 0.0), default=None)
        return self.validation(
            study.best_trial.number,
            seeds=seeds,
            baseline=baseline.number if baseline is not None else None,
            experiment=experiment,
        )


def suggest_base_lr(trial: optuna.Trial, low: float = 1e-4, high: float = 1.0, *, name: str = "base_lr") -> float:
    """Suggest a base learning rate, evenly over the powers of ten."""
    return trial.suggest_float(name, low, high, log=True)


def suggest_schedule(
    trial: optuna.Trial, *, total_steps: int, kinds: Sequence[str] = SCHEDULES
) -> dict[str, Any] | None:
    """Suggest a schedule, written as in a job file: one of `kinds`, and its parameters; see `lrs.study.schedule_of`.

    Keep `none` among `kinds`: the baseline of a validation takes its base rate from the trials without a schedule.
    """
    kind = trial.suggest_categorical("schedule", list(kinds))
    parameters: dict[str, Any] = {"schedule": kind}
    if kind in ("cosine", "linear"):
        parameters["floor_share"] = trial.suggest_float("floor_share", 0.0, 0.2)
    if kind == "one_cycle":
        parameters["pct_start"] = trial.suggest_float("pct_start", 0.1, 0.5)
    if kind == "wsd":
        parameters["decay_share"] = trial.suggest_float("decay_share", 0.1, 0.6)
    if kind in ("cosine", "linear", "wsd"):
        parameters["warmup_share"] = trial.suggest_float("warmup_share", 0.0, 0.2)
    return schedule_of(parameters, total_steps=total_steps)


def suggest_controllers(
    trial: optuna.Trial, *, kinds: Sequence[str] = ("none", "plateau"), metric: str = "loss", max_patience: int = 20
) -> ControllerArguments:
    """Suggest controllers, as arguments of `lrs.Scheduler`: one of `none`, `auto` and `plateau`, and its parameters."""
    parameters: dict[str, Any] = {"controller": trial.suggest_categorical("controller", list(kinds))}
    if parameters["controller"] == "plateau":
        parameters["factor"] = trial.suggest_float("factor", 0.1, 0.8)
        parameters["patience"] = trial.suggest_int("patience", 1, max_patience)
    return controllers_of(parameters, metric=metric)
