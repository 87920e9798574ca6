"""A learning-rate service that records reports, and misbehaves on each stream as a script says."""

from __future__ import annotations

import threading
from collections import deque
from concurrent import futures

import grpc
from google.protobuf import any_pb2

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
from server import is_free, wait_for

#: How often a port is asked for before its test fails.
TRIES = 8

#: The rate of every step in the provisional plan. It differs from the final rates.
PLANNED_RATE = 0.25


def final_rate(step: int) -> float:
    """The final rate of a step. It is sent when the steps up to `decision_lag` before it have been reported."""
    return 1.0 / (2.0 + step)


def refuse(context, code, reason, text) -> None:
    """End a call as lrs does, with a `google.rpc.ErrorInfo`."""
    name = reason.encode()
    info = any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\x0a" + bytes([len(name)]) + name)
    packed = info.SerializeToString()
    context.set_trailing_metadata((("grpc-status-details-bin", b"\x1a" + bytes([len(packed)]) + packed),))
    context.abort(code, text)


class FakeService:
    """A service on a free port, or on a given port."""

    def __init__(self, *script, port: int = 0, lag: int = 1, tier: int = 0, only_jobs: bool = False) -> None:
        """Each entry `(kind, messages)` of the script is for a stream. Streams after the script are good.

        `lose`: answers the opening, takes `messages` messages without recording them, then breaks. `mute`: records and
        answers nothing. `break`: is good for `messages` messages, then breaks. `silent`: records `messages` messages
        without answering, then breaks. `refuse`: refuses the stream, because the job has ended.
        """
        self.script = deque(script)
        self.lag, self.tier = lag, tier
        self.record: dict[int, dict[str, float]] = {}
        self.extras: dict[int, dict] = {}  # the fields of a step's directive beside its rate
        self.patience: list[float] = []  # how long each message's acknowledgement may wait, in seconds
        self.streams = 0
        self.starts: list[tuple[str, int]] = []
        self.held = threading.Event()  # while it is cleared, no directive is sent
        self.held.set()
        self._lock = threading.Lock()
        self._complete_end = 0
        # By default, two services may share a port, and each would get some of the connections.
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
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
        self.port = self._bound(port)
        self._server.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _bound(self, port: int) -> int:
        """Bind a port, once it is free: another program may use the given port for a moment."""
        address = f"127.0.0.1:{port}"
        for attempt in range(1, TRIES + 1):
            wait_for(f"{address} to be free", lambda: is_free(address))
            try:
                return self._server.add_insecure_port(address)
            except RuntimeError as problem:
                if attempt == TRIES:
                    raise RuntimeError(f"port {port} is still taken after {TRIES} tries") from problem
        raise AssertionError("not reached")

    def stop(self) -> int:
        """End the service and its connections, and return its port."""
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
            refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "JOB_ENDED", "the job has ended")
        taken = 0
        for number, request in enumerate(requests, 1):
            taken += bool(request.step)
            self.patience.append(request.acknowledge_within.ToTimedelta().total_seconds())
            if kind in ("good", "break", "silent"):
                self._keep(request)
            if kind in ("good", "break") or (kind == "lose" and not request.step):
                self.held.wait(60)
                end = self._complete_end + self.lag
                directives = [self._directive(step) for step in range(told_end, end)]
                told_end = max(told_end, end)
                durable = {"durable_through_step": self._complete_end - 1} if self._complete_end else {}
                yield StreamTelemetryResponse(directives=directives, durable_messages=number, **durable)
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
