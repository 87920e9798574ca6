"""Copies a job's record to MLflow, with any tracking store: `python -m lrs.mlflow vision/cifar`.

Each attempt becomes a run: its telemetry becomes metrics, the spec parameters, and the decisions an artifact. A repeated call
copies only what is new, so it can follow a job that still trains.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

import mlflow
from google.protobuf import json_format
from mlflow.entities import Metric, Param, RunTag

from lrs import errors
from lrs.record import Record
from lrs.v1.job_pb2 import Arm, Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlflow.entities import Run

    from lrs.v1.decision_pb2 import Decision

__all__ = ["hand_over"]

#: The most that MLflow takes in a call.
_MAX_METRICS = 1000
_MAX_PARAM_CHARS = 6000
_NEXT_STEP = "lrs.next_step"
_STATUS = {Job.STATE_COMPLETED: "FINISHED", Job.STATE_FAILED: "FAILED", Job.STATE_CANCELLED: "KILLED"}


def hand_over(
    job: str,
    *,
    server: str | None = None,
    tracking_uri: str | None = None,
    experiment: str | None = None,
    attempt: int | None = None,
) -> str:
    """Copy the part of an attempt's record that MLflow does not have yet, and return the run's identifier.

    Args:
        job: `namespace/job`, `job` in the default namespace, or `namespaces/{namespace}/jobs/{job}`.
        server: `http://HOST:PORT`. Default: `LRS_SERVER`, or else `http://127.0.0.1:50051`.
        tracking_uri: MLflow's tracking store. Default: MLflow's own, such as `MLFLOW_TRACKING_URI`.
        experiment: The name of MLflow's experiment. Default: the job's experiment, or else its namespace.
        attempt: The number of the attempt. Default: the newest.

    Raises:
        RefusedError: If there is no such job or attempt, or its telemetry has been removed.
        UnreachableError: If the service does not answer.
        mlflow.exceptions.MlflowException: If MLflow refuses.
    """
    with Record(job, server=server) as record:
        return _Run(record, tracking_uri, experiment, attempt).bring_up_to_date()


class _Run:
    """An attempt's run in MLflow."""

    def __init__(self, record: Record, tracking_uri: str | None, experiment: str | None, attempt: int | None) -> None:
        self.record = record
        self.job = record.job()
        self.attempt = attempt or self.job.attempt
        self.started = record.started(self.attempt).ToMilliseconds()
        self.client = mlflow.MlflowClient(tracking_uri)
        name = experiment or self.job.spec.experiment or self.job.name.split("/")[1]
        found = self.client.get_experiment_by_name(name)
        self.experiment = found.experiment_id if found is not None else self.client.create_experiment(name)

    def bring_up_to_date(self) -> str:
        run = self._find() or self._create()
        next_step = int(run.data.tags.get(_NEXT_STEP, 0))
        for page in self.record.telemetry(self.attempt, start_step=next_step):
            metrics = [
                Metric(series.name, value, self.started, step)
                for series in page.series
                for step, value in zip(series.step, series.value, strict=True)
            ]
            for first in range(0, len(metrics), _MAX_METRICS):
                self.client.log_batch(run.info.run_id, metrics=metrics[first : first + _MAX_METRICS])
            next_step = max((metric.step + 1 for metric in metrics), default=next_step)
            # If the copy ends here, the next one sends these metrics again, and MLflow keeps each once.
            self.client.set_tag(run.info.run_id, _NEXT_STEP, str(next_step))
        self.client.log_text(
            run.info.run_id, "".join(_line(decision) for decision in self.record.decisions()), "decisions.jsonl"
        )
        status = _STATUS.get(self.job.state)
        if status is not None or self.attempt < self.job.attempt:
            self.client.set_terminated(run.info.run_id, status or "KILLED")
        return str(run.info.run_id)

    def _find(self) -> Run | None:
        wanted = f"tags.`lrs.uid` = '{self.job.uid}' and tags.`lrs.attempt` = '{self.attempt}'"
        found = self.client.search_runs([self.experiment], filter_string=wanted, max_results=1)
        return found[0] if found else None

    def _create(self) -> Run:
        name = self.job.name.split("/")[-1]
        run = self.client.create_run(self.experiment, start_time=self.started, run_name=f"{name}-{self.attempt}")
        spec = self.job.spec
        tags = {"lrs.job": self.job.name, "lrs.uid": self.job.uid, "lrs.attempt": str(self.attempt)}
        if spec.arm:
            tags["lrs.arm"] = Arm.Name(spec.arm)
        if spec.HasField("seed"):
            tags["lrs.seed"] = str(spec.seed)
        tags |= {f"lrs.label.{key}": value for key, value in spec.labels.items()}
        written = json_format.MessageToDict(spec, preserving_proto_field_name=True)
        params = {
            key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for key, value in written.items()
        }
        self.client.log_batch(
            run.info.run_id,
            params=[Param(key, value[:_MAX_PARAM_CHARS]) for key, value in params.items() if key != "labels"],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        return self.client.get_run(run.info.run_id)


def _line(decision: Decision) -> str:
    return json_format.MessageToJson(decision, preserving_proto_field_name=True, indent=None) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lrs.mlflow", description="Copy a job's record to MLflow.")
    parser.add_argument("job", help="the job: JOB, NAMESPACE/JOB or namespaces/NAMESPACE/jobs/JOB")
    parser.add_argument("--server", help="address of the lrs server [default: LRS_SERVER]")
    parser.add_argument("--tracking-uri", help="MLflow's tracking store [default: MLFLOW_TRACKING_URI]")
    parser.add_argument(
        "--experiment", help="name of MLflow's experiment [default: the job's experiment, or else its namespace]"
    )
    parser.add_argument("--attempt", type=int, help="number of the attempt [default: the newest]")
    asked = parser.parse_args(arguments)
    try:
        run = hand_over(
            asked.job,
            server=asked.server,
            tracking_uri=asked.tracking_uri,
            experiment=asked.experiment,
            attempt=asked.attempt,
        )
    except errors.LrsError as problem:
        print(f"error: {problem}", file=sys.stderr)  # noqa: T201
        return 1
    print(run)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
