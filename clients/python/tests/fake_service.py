"""A learning-rate service that remembers what is reported, and misbehaves stream by stream as a script says."""

from __future__ import annotations

import threading
from collections import deque
from concurrent import futures

import grpc

from lrs.v1.job_pb2 import GroupRate, Job, JobSpec, ParameterGroup
from lrs.v1.job_service_pb2 import CreateJobRequest, GetJobRequest
from lrs.v1.learning_rate_service_pb2 import (
    Action,
    Directive,
    GetLearningRateRequest,
    GetLearningRateResponse,
    GroupPlan,
    RatePlan,
    StartAttemptRequest,
    StartAttemptResponse,
    StreamTelemetryRequest,
    StreamTelemetryResponse,
)

#: What the provisional plan says of every step: not what becomes final.
PLANNED_RATE = 0.25


def final_rate(step: int) -> float:
    """What becomes final for a step, once the steps `decision_lag` before it have been reported."""
    return 1.0 / (2.0 + step)


class Stop(Exception):  # noqa: N818 (no error)
    """A stream is at its end."""


class FakeService:
    """Answers on a free port, or one that was had before."""

    def __init__(self, *script, port: int = 0, lag: int = 1, tier: int = 0, only_jobs: bool = False) -> None:
        """Each entry of the script is for one stream: `(what, messages)`; after them all streams are good.

        `lose`: takes so many messages without keeping them, then breaks. `mute`: keeps nothing and says nothing.
        `break`: is good for so many, then breaks. `silent`: keeps so many without saying so, then breaks. `refuse`.
        """
        self.script = deque(script)
        self.lag, self.tier = lag, tier
        self.record: dict[int, dict[str, float]] = {}
        self.extras: dict[int, dict] = {}  # what a step's directive says beyond its rate
        self.patience: list[float] = []  # how long the acknowledgement of each message may wait, in seconds
        self.streams = 0
        self.starts: list[tuple[str, int]] = []
        self.held = threading.Event()  # set: directives may go out
        self.held.set()
        self._lock = threading.Lock()
        self._complete_end = 0
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
        handlers = {
            "JobService": {
                "CreateJob": (CreateJobRequest, Job, self._create),
                "GetJob": (GetJobRequest, Job, self._get),
            },
            "LearningRateService": {
                "StartAttempt": (StartAttemptRequest, StartAttemptResponse, self._start),
                "GetLearningRate": (GetLearningRateRequest, GetLearningRateResponse, self._rate),
            },
        }
        for service, methods in handlers.items():
            if only_jobs and service != "JobService":
                continue
            table = {
                name: grpc.unary_unary_rpc_method_handler(
                    handle, request.FromString, lambda answer: answer.SerializeToString()
                )
                for name, (request, _, handle) in methods.items()
            }
            if service == "LearningRateService":
                table["StreamTelemetry"] = grpc.stream_stream_rpc_method_handler(
                    self._stream, StreamTelemetryRequest.FromString, lambda answer: answer.SerializeToString()
                )
            generic = grpc.method_handlers_generic_handler(f"lrs.v1.{service}", table)
            self._server.add_generic_rpc_handlers((generic,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        assert self.port, "the port is taken"
        self._server.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> int:
        """End it with all its connections; where it was."""
        self._server.stop(0).wait()
        return self.port

    def _create(self, request, context):
        return Job(name=f"{request.parent}/jobs/{request.job_id}", spec=request.job.spec)

    def _get(self, request, context):
        if request.name.endswith("unknown"):
            context.abort(grpc.StatusCode.NOT_FOUND, "there is no such job")
        groups = [ParameterGroup(name="default", base_lr=0.5)]
        return Job(name=request.name, spec=JobSpec(groups=groups, tier=self.tier, decision_lag=self.lag))

    def _start(self, request, context):
        self.starts.append((request.attempt_token, request.resume_step))
        with self._lock:
            self._complete_end = max(self._complete_end, request.resume_step)
        return StartAttemptResponse(
            attempt=len(self.starts),
            resume_step=request.resume_step,
            decision_lag=self.lag,
            needs_telemetry=True,
            groups=["default"],
            tier=self.tier,
        )

    def _rate(self, request, context):
        is_final = request.step < self._complete_end + self.lag
        head = self._directive(request.step)
        if not is_final:
            head = Directive(step=request.step, rates=[GroupRate(group="default", learning_rate=PLANNED_RATE)])
        plan = GroupPlan(group="default", learning_rate=[PLANNED_RATE] * request.plan_steps)
        return GetLearningRateResponse(
            attempt=1, directive=head, plan=RatePlan(first_step=request.step + 1, groups=[plan])
        )

    def _directive(self, step: int) -> Directive:
        extra = dict(self.extras.get(step, {}))
        actions = [Action(**{kind: name}) for kind, name in extra.pop("actions", [])]
        rates = [GroupRate(group="default", learning_rate=final_rate(step))]
        return Directive(step=step, rates=rates, is_final=True, actions=actions, **extra)

    def _stream(self, requests, context):
        with self._lock:
            self.streams += 1
            kind, messages = self.script.popleft() if self.script else ("good", None)
            told_end = self._complete_end
        if kind == "refuse":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the job has ended")
        taken = 0
        for request in requests:
            taken += bool(request.step)
            self.patience.append(request.acknowledge_within.ToTimedelta().total_seconds())
            if kind in ("good", "break", "silent"):
                self._keep(request)
            if kind in ("good", "break"):
                self.held.wait(60)
                end = self._complete_end + self.lag
                directives = [self._directive(step) for step in range(told_end, end)]
                told_end = max(told_end, end)
                durable = {"durable_through_step": self._complete_end - 1} if self._complete_end else {}
                yield StreamTelemetryResponse(directives=directives, **durable)
            if messages is not None and taken >= messages:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the script says to break here")

    def _keep(self, request) -> None:
        with self._lock:
            for index, step in enumerate(request.step):
                values = {}
                for name in ("loss", "grad_norm", "learning_rate"):
                    if column := getattr(request, name):
                        values[name] = column[index]
                self.record.setdefault(step, values)
            for series in request.metrics:
                for step, value in zip(series.step, series.value, strict=True):
                    self.record[step][series.name] = value
            if request.HasField("through_step"):
                self._complete_end = max(self._complete_end, request.through_step + 1)
