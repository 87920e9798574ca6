"""The trials of a hyper-parameter study as jobs, whatever engine proposes them; `lrs.optuna` fits this into Optuna.

A trial is a job of the study's experiment. It reports like any other, and its trainer hears the service's advice to stop,
from the job's controllers or from `lrs sweep`. The best trial becomes the base of the jobs that validate it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, overload

import grpc

from lrs import errors
from lrs.arguments import SchedulerArguments, check_arguments
from lrs.job import job_name
from lrs.study_space import SCHEDULES, controllers_of, schedule_of
from lrs.v1.decision_pb2 import Decision
from lrs.v1.job_pb2 import ARM_BASELINE, ARM_SCHEDULED, Job, JobSpec
from lrs.v1.job_service_pb2 import AdviseStopRequest, CompleteJobRequest, CreateJobRequest, GetJobRequest
from lrs.wire import DEFAULT_SERVER, Call, Connection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from google.protobuf.message import Message
    from typing_extensions import Unpack

    from lrs.arguments import JobArguments, TrialArguments, TrialSchedulerArguments

__all__ = ["SCHEDULES", "Study", "ValidationJob", "controllers_of", "schedule_of"]

log = logging.getLogger("lrs")

_Response = TypeVar("_Response", bound="Message")


@dataclass(frozen=True)
class ValidationJob:
    """A job that validates a study's best trial, registered and ready to be trained by its name."""

    name: str
    """`namespaces/{namespace}/jobs/{job}`."""
    arm: str
    """`ARM_SCHEDULED` for the best trial's schedule and controllers, `ARM_BASELINE` for none."""
    seed: int
    """The random seed to train it with."""


class Study:
    """The jobs of a study's trials. Any thread may use it."""

    def __init__(
        self,
        name: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        timeout: float = 5.0,
        **arguments: Unpack[SchedulerArguments],
    ) -> None:
        """Remember what all trials have in common. Nothing is asked of the service yet.

        Args:
            name: `namespace/study`, or `study` in the default namespace: the jobs are called `study-0000` and so on, and
                `study` is their experiment.
            credentials: For TLS with other than the system's roots.
            metadata: Sent with every call.
            timeout: The longest that a call may take, in seconds.
            arguments: Those of `lrs.Scheduler` that all trials share, such as `server`, `total_steps` or `spec`.

        Raises:
            ArgumentError: If there is no such argument.
            UsageError: If the name can not be a job's.
        """
        check_arguments(arguments, SchedulerArguments, Study.__init__)
        _, self._namespace, _, self.experiment = job_name(name).split("/")
        self.server = arguments.get("server") or os.environ.get("LRS_SERVER") or DEFAULT_SERVER
        self._credentials = credentials
        self._metadata = tuple(metadata)
        self._timeout = timeout
        self._arguments = arguments

    def job(self, number: int) -> str:
        """The name of a trial's job."""
        return job_name(f"{self._namespace}/{self.experiment}-{number:04d}")

    @overload
    def options(
        self, number: int, *, groups: Mapping[str, float] | float | None, **arguments: Unpack[JobArguments]
    ) -> TrialSchedulerArguments: ...

    @overload
    def options(self, number: int, **arguments: Unpack[JobArguments]) -> TrialArguments: ...

    def options(self, number: int, **arguments: Unpack[SchedulerArguments]) -> TrialArguments | TrialSchedulerArguments:
        """The arguments with which to make a trial's `lrs.Scheduler`, or the scheduler or callback of an integration.

        `arguments` are this trial's own: `lrs.Scheduler(**study.options(7, groups=0.1, schedule={"cosine": {}}))`. What takes
        the base rates from an optimizer is given no `groups`.
        """
        check_arguments(arguments, SchedulerArguments, Study.__init__)
        merged = self._arguments | arguments
        merged.setdefault("experiment", self.experiment)
        merged["server"] = merged.get("server") or self.server
        labels = {"study": self.experiment, "trial": str(number)} | dict(merged.get("labels") or {})
        merged["labels"] = labels
        return {"job": self.job(number), **merged}

    def advise_stop(self, number: int, reason: str, evidence: Mapping[str, float] | None = None) -> Decision:
        """Advise a trial's trainer to stop, as an engine that prunes by itself does.

        Raises:
            RefusedError: If the job has ended, or there is none.
            UnreachableError: If the service does not answer.
        """
        request = AdviseStopRequest(name=self.job(number), reason=reason, author="study", evidence=evidence or {})
        request.request_id = f"study: {reason}"[:200]
        return self._call("JobService/AdviseStop", request, Decision, request.name)

    def end(self, number: int, outcome: str = "COMPLETED", reason: str = "") -> None:
        """End a trial's job as `COMPLETED`, `FAILED` or `CANCELLED`; harmless where it has ended.

        A study goes on whatever becomes of this: a service that is away is a warning.
        """
        name, outcome = self.job(number), f"STATE_{outcome}"
        request = CompleteJobRequest(name=name, outcome=outcome, reason=reason[:1000], author="study")
        try:
            self._call("JobService/CompleteJob", request, Job, request.name)
        except errors.JobEndedError:
            pass
        except errors.LrsError as problem:
            log.warning("Trial %d of %s could not be ended: %s", number, self.experiment, problem)

    def validation(
        self, best: int, *, seeds: Iterable[int], baseline: int | None = None, experiment: str | None = None
    ) -> list[ValidationJob]:
        """Register an experiment that compares the best trial's schedule and controllers with none, over `seeds`.

        Both arms take their base rates from a trial that was tuned for them: the scheduled arm from `best`, and the baseline
        from `baseline`, the best trial without schedule and controllers. A study without such a trial has only `best` to
        give; then the baseline's rate was tuned for something else, and the comparison favours the schedule.

        Done twice it gives the same jobs.

        Args:
            best: The number of the best trial. Its job must be there.
            seeds: A pair of jobs for each.
            baseline: The number of the best trial without schedule and controllers.
            experiment: What the experiment is called. Default: the study's name with `-validation` after it.

        Raises:
            RefusedError: If a trial has no job, or a job of the same name and another spec is there.
            UnreachableError: If the service does not answer.
        """
        experiment = experiment or f"{self.experiment}-validation"
        tuned = self._call("JobService/GetJob", GetJobRequest(name=self.job(best)), Job, self.job(best))
        jobs = []
        for seed in seeds:
            for arm, source in ((ARM_SCHEDULED, best), (ARM_BASELINE, best if baseline is None else baseline)):
                spec = _spec_of_arm(tuned.spec, arm)
                spec.base_lr_from.study_trial = self.job(source)
                spec.experiment, spec.arm, spec.seed = experiment, arm, seed
                kind = "scheduled" if arm == ARM_SCHEDULED else "baseline"
                request = CreateJobRequest(
                    parent=f"namespaces/{self._namespace}",
                    job_id=f"{experiment}-{kind}-{seed}",
                    job=Job(spec=spec),
                    request_id=f"validation of trial {best} of {self.experiment}",
                )
                job = self._call("JobService/CreateJob", request, Job, request.job_id)
                jobs.append(ValidationJob(job.name, "ARM_SCHEDULED" if arm == ARM_SCHEDULED else "ARM_BASELINE", seed))
        return jobs

    def _call(self, method: str, request: Message, response: type[_Response], job: str) -> _Response:
        # Made for each call: they are few, and a connection that lies about is one more thing that a fork can harm.
        connection = Connection(self.server, self._credentials, self._metadata)
        call: Call[Message, _Response] = Call(connection, method, response)
        try:
            return call(request, self._timeout)
        except grpc.RpcError as failure:
            if errors.is_permanent(failure):
                raise errors.refusal(failure, job, self.server) from failure
            raise errors.UnreachableError(
                f"{self.server} did not answer about {job}: {errors.details(failure)}",
                code=errors.status_code(failure).name,
            ) from failure
        finally:
            connection.close()


def _spec_of_arm(tuned: JobSpec, arm: int) -> JobSpec:
    spec = JobSpec()
    spec.CopyFrom(tuned)
    spec.labels.clear()
    if arm == ARM_BASELINE:
        for field in ("schedule", "momentum_schedule", "weight_decay_schedule", "controllers", "controller"):
            spec.ClearField(field)
        for group in spec.groups:
            group.ClearField("schedule")
    return spec
