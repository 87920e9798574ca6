"""The service as a policy: trains a run as a job of a running `lrs serve`, in the interface of policies.py.

A harness needs only the folder of this file: `LrsPolicy(T, lr0, eval_every, address="127.0.0.1:50051")`.
"""
import math
import queue
import sys
import threading
import time
import uuid
from pathlib import Path

import grpc
from google.protobuf import json_format

# At the end of the path, so that a harness with its own `engine` or `policies` still finds those.
sys.path.append(str(Path(__file__).resolve().parent))
from lrs_copies import Copies  # noqa: E402
from lrs_wire import Connection, LrsError, message  # noqa: E402

EVALUATION = "val_loss"
SKIPPED = "lrs_skipped"
# Tier 0 of a harness is the service's tier 1: the harness clips to any bound it is told, but keeps no copies.
SERVICE_TIER = {0: 1, 1: 1, 2: 2}


class LrsPolicy:
    """A run, as a job of its own with the service's recommended closed loop.

    T            steps of the run
    lr0          the rate that the user gives, which may be wrong
    eval_every   steps between evaluations
    tier         2: the harness carries out snapshots and restores. 0 or 1: it only clips
    clips        False, with tier 0: the harness does not even clip, but skips updates of a norm above `skip_above`
    address      the server's gRPC address
    decision_lag a directive for step k sees telemetry of steps up to k - decision_lag only; the service ensures that
    controllers  controllers of the job's spec in JSON form, in place of `controller: auto`
    name         the job's resource name. Default: a new one in the namespace `training`
    labels       the job's labels
    takes_acts   whether the harness reads "acts" of a directive. A harness that reads only "act" gets, in a step that
                 needs both a snapshot and a restore, the restore alone; `copies.left_out` counts such steps
    timeout_s    how long to wait for the server before giving up

    The job is completed when the last step and its evaluation have been reported; before that, `close()` cancels it.
    Every failure is raised as LrsError.
    """

    def __init__(self, T, lr0, eval_every, tier=2, address="127.0.0.1:50051", *, decision_lag=1, controllers=None,
                 clips=True, name=None, labels=None, takes_acts=False, timeout_s=30.0):
        if tier not in SERVICE_TIER:
            raise ValueError(f"tier is {tier!r}; it can be 0, 1 or 2")
        if not clips and tier:
            raise ValueError(f"a trainer of tier {tier} clips")
        self.T, self.lr0, self.eval_every = T, lr0, eval_every
        self.takes_acts, self.timeout_s = takes_acts, timeout_s
        self.job = name or f"namespaces/training/jobs/{uuid.uuid4()}"
        self.copies = Copies()
        self.is_over = False
        self.waited_s = 0.0  # time spent waiting for directives, over all steps
        self._directives = {}
        self._told = None  # the step of the newest directive used, and its rate
        self._seen = None  # the values to report of that step
        self._reported = -1  # the highest step reported
        self._acknowledged = None  # the newest answer with acknowledgements
        self._connection = Connection(address, timeout_s)
        self._register(SERVICE_TIER[tier] if clips else 0, decision_lag, controllers, labels or {})

    # --- the interface of a policy

    def next(self, k):
        asked = time.perf_counter()
        self._flush()
        directive = self._directive(k)
        self.waited_s += time.perf_counter() - asked
        rate = directive.rates[0].learning_rate
        self._told = (k, rate)
        clip = directive.clip_norm if directive.HasField("clip_norm") else math.inf
        acts = self.copies.acts(map(action, directive.actions), only_one=not self.takes_acts)
        told = dict(lr=rate, clip=clip, act=acts[-1] if acts else None, acts=acts)
        if directive.HasField("skip_above_norm"):
            told |= dict(skip_above=directive.skip_above_norm)
        return told

    def observe(self, k, loss, grad_norm, extra=None):
        if self._told is None or self._told[0] != k or k <= self._reported:
            raise ValueError(f"step {k} is reported, but it is not the step of the newest directive")
        self._seen = dict(loss=[float(loss)], grad_norm=[float(grad_norm)], metrics=[])
        if (extra or {}).get("skipped"):
            self._seen["metrics"].append(message("MetricSeries")(name=SKIPPED, step=[k], value=[1.0]))
        if k == self.T - 1 and self.T % self.eval_every != 0:
            self._finish()

    def observe_val(self, k, v):
        if self._seen is None or self._told[0] != k:
            raise ValueError(f"an evaluation of step {k} comes, but that is not the step reported last")
        self._seen["metrics"].append(message("MetricSeries")(name=EVALUATION, step=[k], value=[float(v)]))
        if k == self.T - 1:
            self._finish()

    def checkpoint(self):
        """What a trainer's checkpoint has of this policy: nothing, the service has it all."""

    def restart(self, k, checkpoint=None):
        """The trainer's process was killed, and goes on from a checkpoint with step k; the copies are gone."""
        self._requests.put(None)
        self.copies, self._directives, self._told, self._seen, self._reported = Copies(), {}, None, None, k - 1
        self._start(k)

    def close(self):
        """Ends the job and the connection. Cancels the job if its last step has not been reported."""
        if not self.is_over:
            self._end("STATE_CANCELLED", "the harness closed it before its last step was reported")

    # --- the job

    def _register(self, tier, decision_lag, controllers, labels):
        parent, _, job_id = self.job.rpartition("/jobs/")
        spec = dict(groups=[dict(base_lr=self.lr0)], total_steps=self.T, tier=tier, labels=labels,
                    decision_lag=decision_lag, objective=dict(metric=EVALUATION))
        spec |= dict(controller="auto") if controllers is None else dict(controllers=controllers)
        job = json_format.ParseDict(dict(spec=spec), message("Job")())
        self._connection.call("CreateJob", parent=parent, job_id=job_id, job=job)
        self._start(0)

    def _start(self, k):
        """Begins an attempt with step k, and its stream."""
        token = str(uuid.uuid4())
        self.attempt = self._connection.call("StartAttempt", job=self.job, attempt_token=token, resume_step=k).attempt
        self._open_stream()

    def _finish(self):
        """Reports the last step, waits until every report is durable, and completes the job."""
        self._flush()
        self._requests.put(None)
        while (response := self._answer("the last acknowledgement")) is not None:
            self._take(response)
        last = self._acknowledged
        if last is None or last.durable_through_step != self.T - 1 or last.late_samples or last.conflicting_samples:
            raise LrsError(f"{self.job} was reported up to step {self.T - 1}, but the stream ended with: {last}")
        self._end("STATE_COMPLETED", "")

    def _end(self, outcome, reason):
        self.is_over = True
        self._requests.put(None)
        try:
            outcome = message("Job").State.Value(outcome)
            self._connection.call("CompleteJob", name=self.job, outcome=outcome, reason=reason)
        finally:
            self._connection.close()

    # --- the stream

    def _open_stream(self):
        self._requests = queue.SimpleQueue()
        self._responses = queue.SimpleQueue()
        first = message("StreamTelemetryRequest")(job=self.job, attempt=self.attempt, want_directives=True)
        self._requests.put(first)
        stream = self._connection.stream("StreamTelemetry", iter(self._requests.get, None))
        # The thread ends with the stream, which ends with the job.
        threading.Thread(target=read, args=(stream, self._responses), daemon=True).start()

    def _flush(self):
        """Reports the trained step, unless it has been reported."""
        if self._seen is None:
            return
        k, rate = self._told
        report = message("StreamTelemetryRequest")(step=[k], learning_rate=[rate], through_step=k, **self._seen)
        self._requests.put(report)
        self._reported, self._seen = k, None

    def _directive(self, k):
        """The final directive of step k. The service sends it once enough telemetry has come to make it final."""
        while k not in self._directives:
            response = self._answer(f"the directive of step {k}")
            if response is None:
                raise LrsError(f"the server ended the stream of {self.job} before the directive of step {k}")
            self._take(response)
        return self._directives.pop(k)

    def _take(self, response):
        if response.durable_messages:
            self._acknowledged = response
        for directive in response.directives:
            self._directives[directive.step] = directive

    def _answer(self, wanted):
        """The next answer of the stream; None after its end."""
        try:
            response = self._responses.get(timeout=self.timeout_s)
        except queue.Empty:
            raise LrsError(f"{self.job}: no answer within {self.timeout_s} s, waiting for {wanted}") from None
        if isinstance(response, grpc.RpcError):
            raise self._connection.failed("StreamTelemetry", response)
        return response


def action(proto):
    """An action as (kind, identifier)."""
    kind = proto.WhichOneof("kind")
    return kind, getattr(proto, kind)


def read(stream, responses):
    """Puts the answers of a stream into the queue, and at its end None or the error."""
    try:
        for response in stream:
            responses.put(response)
        responses.put(None)
    except grpc.RpcError as error:
        responses.put(error)
