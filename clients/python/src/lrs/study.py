"""The trials of a hyper-parameter study as jobs, whichever engine proposes them. `lrs.optuna` connects this to Optuna.

A trial is a job of the study's experiment, and reports like any job. Its trainer receives the service's advice to stop, from
the job's controllers or from `lrs sweep`. Further jobs validate the best trial.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, overload

import grpc

from lrs import errors, plain
from lrs.arguments import SchedulerArguments, check_arguments
from lrs.implied import given_value, in_spec
from lrs.job import job_name
from lrs.steps import whole
from lrs.study_space import SCHEDULES, controllers_of, schedule_of
from lrs.v1.decision_pb2 import Decision
from lrs.v1.job_pb2 import ARM_BASELINE, ARM_SCHEDULED, Job, JobSpec
from lrs.v1.job_service_pb2 import AdviseStopRequest, CompleteJobRequest, CreateJobRequest, GetJobRequest
from lrs.wire import Call, Connection, server_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf.message import Message
    from typing_extensions import Unpack

    from lrs.arguments import JobArguments, TrialArguments, TrialSchedulerArguments

__all__ = ["SCHEDULES", "Study", "ValidationJob", "controllers_of", "schedule_of"]

log = logging.getLogger("lrs")

_Response = TypeVar("_Response", bound="Message")


@dataclass(frozen=True)
class ValidationJob:
    """A registered job that validates a study's best trial. Train it by its name."""

    name: str
    """`namespaces/{namespace}/jobs/{job}`."""
    arm: str
    """`ARM_SCHEDULED`: with the best trial's schedule and controllers; `ARM_BASELINE`: without."""
    seed: int
    """The random seed to train it with."""


_OUTCOMES = ("COMPLETED", "FAILED", "CANCELLED")


def _figure(name: object, value: object) -> float:
    """A number of the evidence."""
    read = plain.number(value)
    if read is None:
        raise errors.UsageError(f"evidence must map names to numbers, and {name!r:.60} was {value!r:.60}.")
    return read


class Study:
    """The jobs of a study's trials. Any thread may use this object."""

    def __init__(
        self,
        name: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        timeout: float = 5.0,
        **arguments: Unpack[SchedulerArguments],
    ) -> None:
        """Nothing is asked of the service yet.

        Args:
            name: `namespace/study`, or `study` in the default namespace. The jobs are `study-0000` and so on, in the
                experiment `study`.
            credentials: Credentials for TLS. Default: the system's certificates.
            metadata: Metadata to send with every call.
            timeout: How long a call may take, in seconds.
            arguments: Arguments of `lrs.Scheduler` that all trials share, such as `server`, `total_steps` or `spec`.

        Raises:
            ArgumentError: If there is no such argument.
            UsageError: If the name is not valid for a job.
        """
        check_arguments(arguments, SchedulerArguments, Study.__init__)
        _, self._namespace, _, self.experiment = job_name(name).split("/")
        self.server = server_address(arguments.get("server"))
        self._credentials = credentials
        self._metadata = tuple(metadata)
        self._timeout = timeout
        self._arguments = arguments

    def job(self, number: int) -> str:
        """The name of a trial's job."""
        trial = whole(number, "the number of a trial")
        if trial < 0:
            raise errors.UsageError(f"The number of a trial must be at least 0, and was {trial}.")
        return job_name(f"{self._namespace}/{self.experiment}-{trial:04d}")

    @overload
    def options(
        self, number: int, *, groups: Mapping[str, float] | float | None, **arguments: Unpack[JobArguments]
    ) -> TrialSchedulerArguments: ...

    @overload
    def options(self, number: int, **arguments: Unpack[JobArguments]) -> TrialArguments: ...

    def options(self, number: int, **arguments: Unpack[SchedulerArguments]) -> TrialArguments | TrialSchedulerArguments:
        """The arguments of a trial's `lrs.Scheduler`, or of an integration's scheduler or callback.

        `arguments` are the trial's own: `lrs.Scheduler(**study.options(7, groups=0.1, schedule={"cosine": {}}))`. Give no
        `groups` for an integration that reads the base rates from an optimizer.
        """
        check_arguments(arguments, SchedulerArguments, Study.__init__)
        merged = self._arguments | arguments
        if "spec" in self._arguments and "spec" not in arguments:
            # What the trial gives takes the place of what all trials share.
            shared = in_spec(self._arguments)
            merged["spec"] = {name: value for name, value in shared.items() if name not in arguments}
        if given_value(merged, "experiment") is None:
            merged["experiment"] = self.experiment
        merged.setdefault("complete", False)  # the study ends its jobs
        merged["server"] = merged.get("server") or self.server
        labels = {"study": self.experiment, "trial": str(number)} | dict(merged.get("labels") or {})
        merged["labels"] = labels
        return {"job": self.job(number), **merged}

    def advise_stop(self, number: int, reason: str, evidence: Mapping[str, float] | None = None) -> Decision:
        """Advise a trial's trainer to stop, for an engine that prunes by itself.

        Raises:
            RefusedError: If the job has ended or does not exist.
            UnreachableError: If the service does not answer.
        """
        figures = {str(name): _figure(name, value) for name, value in (evidence or {}).items()}
        request = AdviseStopRequest(name=self.job(number), reason=reason, author="study", evidence=figures)
        request.request_id = f"study: {reason}"[:200]
        return self._call("JobService/AdviseStop", request, Decision, request.name)

    def end(self, number: int, outcome: str = "COMPLETED", reason: str = "") -> None:
        """End a trial's job as `COMPLETED`, `FAILED` or `CANCELLED`. Does nothing if the job has ended.

        If the service refuses or is away, this logs a warning, and the study goes on.

        Raises:
            UsageError: If there is no such outcome.
        """
        written = str(outcome).strip().upper().removeprefix("STATE_")
        if written not in _OUTCOMES:
            raise errors.UsageError(f"outcome must be one of {', '.join(_OUTCOMES)}, and was {outcome!r:.60}.")
        name, outcome = self.job(number), f"STATE_{written}"
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
        """Register an experiment that compares the best trial with a baseline without schedule and controllers.

        The scheduled arm takes its base rates from the trial `best`, and the baseline from the trial `baseline`: each was tuned
        for its arm. Without `baseline`, both take them from `best`; these rates were tuned for the schedule, so the
        comparison then favours the schedule.

        A repeated call returns the same jobs.

        Args:
            best: The number of the best trial. Its job must exist.
            seeds: The random seeds. Each seed gets a job in each arm.
            baseline: The number of the best trial without schedule and controllers.
            experiment: The name of the experiment. Default: the study's name with `-validation` after it.

        Raises:
            RefusedError: If a trial has no job, or a validation job exists with another spec.
            UnreachableError: If the service does not answer.
        """
        experiment = experiment or f"{self.experiment}-validation"
        tuned = self._call("JobService/GetJob", GetJobRequest(name=self.job(best)), Job, self.job(best))
        jobs = []
        if isinstance(seeds, (str, bytes)) or not isinstance(seeds, Iterable):
            raise errors.UsageError(f"seeds must be a list of whole numbers, such as [0, 1, 2], and was {seeds!r:.60}.")
        for seed in [whole(seed, "a seed") for seed in seeds]:
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
        # A new connection for each call: calls are few, and a connection kept open could be harmed by a fork.
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
