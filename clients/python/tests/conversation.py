"""A conversation of a trainer with a service: what is said, how it is recorded, and the records.

`python conversation.py FILE` records the client that can be imported against the server's program `LRS_BINARY`. To make
the record of a release, run it with that release's client and program, at the beginning of the next:

    PYTHONPATH=OLD/clients/python/src LRS_BINARY=OLD/target/debug/lrs python tests/conversation.py \
        tests/fixtures/previous_release.jsonl

A record has a line for each event, in their order: a call's beginning, a message with its direction, or a call's end.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import logging
import math
import sys
import tempfile
import threading
from collections import deque
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

import grpc

PREVIOUS = Path(__file__).parent / "fixtures" / "previous_release.jsonl"
STREAM = "LearningRateService/StreamTelemetry"
#: A step waits so long for its directive, in seconds: a record must not depend on the machine's speed.
DEADLINE = 60.0


class Trained(NamedTuple):
    """What a trainer has got from the service."""

    rates: list[tuple[float, ...]]
    """The rates of each step, of all jobs."""
    fallback_steps: int
    """How many steps were trained without a final directive."""
    refusals: list[str]
    """The kinds of errors that were raised."""


def train(server: str) -> Trained:
    """Train as a user does, with each call that a scheduler makes: the conversation."""
    import lrs

    def loop(scheduler: lrs.Scheduler, steps: int) -> None:
        for _ in range(steps):
            step = scheduler.next_step
            rates.append(tuple(scheduler.directive.rates))
            if step % 5 == 0:
                scheduler.log(val_loss=1.0 if step < 10 else 1.5)
            # Step 7 has a loss that is not finite.
            scheduler.step(
                math.nan if step == 7 else 2.0 / (1.0 + step), grad_norm=1.0 + step, metrics={"accuracy": 0.5}
            )

    rates: list[tuple[float, ...]] = []
    refusals: list[str] = []
    fallback = 0
    common = {"server": server, "deadline": DEADLINE, "options": lrs.Options(plan_steps=64)}
    steered = {
        **common,
        "total_steps": 40,
        "schedule": {"warmup": {"warmup_steps": 5, "schedule": {"cosine": {}}}},
        "controllers": [{"reduce_lr_on_plateau": {"metric": "val_loss", "patience": 1}}],
        "spec": {"objective": {"metric": "val_loss"}},
        "tier": 1,
    }
    groups = {"body": 0.1, "head": 0.2}
    # A job with a controller: registered, trained, resumed by a second attempt from a checkpoint before the end of the first.
    with lrs.Scheduler("talk/steered", groups=groups, attempt_token="first", **steered) as scheduler:
        loop(scheduler, 12)
        checkpoint = scheduler.state_dict()
        loop(scheduler, 3)
        fallback += scheduler.fallback_steps.count
    # The second asks for another base rate than the job has.
    groups = {"body": 0.1, "head": 0.3}
    with lrs.Scheduler("talk/steered", groups=groups, attempt_token="second", **steered) as scheduler:
        scheduler.load_state_dict(checkpoint)
        loop(scheduler, 28)
        fallback += scheduler.fallback_steps.count
    # A job without controllers, whose plan is final.
    plain = {**common, "groups": 0.5, "total_steps": 10, "schedule": {"linear": {}}}
    with lrs.Scheduler("talk/plain", attempt_token="only", **plain) as scheduler:
        loop(scheduler, 10)
        fallback += scheduler.fallback_steps.count
    # A job that is not there.
    try:
        lrs.Scheduler("talk/missing", **common)
    except lrs.LrsError as refusal:
        refusals.append(type(refusal).__name__)
    return Trained(rates, fallback, refusals)


class Event(NamedTuple):
    """A line of a record about a call."""

    call: int
    """The number of the call, from 0 in the order of their beginnings."""
    kind: str
    """`begin`, `client` (a message of the client), `server` (a message of the server) or `end`."""
    method: str = ""
    """Of a beginning: the service and the method, such as `JobService/GetJob`."""
    message: bytes = b""
    """The message. Of an end: the details of the status, a `google.rpc.Status`."""
    code: str = ""
    """Of an end: the code of the status."""


class Exchange(NamedTuple):
    """A call of a record."""

    method: str
    events: list[Event]
    """Its messages, in their order."""
    code: str
    """The code of its status; empty if the client ended it."""
    details: bytes

    def messages(self, kind: str) -> list[bytes]:
        return [event.message for event in self.events if event.kind == kind]


def write(path: Path, events: list[Event], trained: Trained) -> None:
    """Write a record: the events, and what the trainer got."""
    with path.open("w") as file:
        for event in events:
            fields = {name: value for name, value in event._asdict().items() if value or name == "call"}
            if event.message:
                fields["message"] = base64.b64encode(event.message).decode()
            print(json.dumps(fields), file=file)
        print(json.dumps({"trained": trained._asdict()}), file=file)


def read(path: Path) -> tuple[list[Exchange], Trained]:
    """The calls of a record in the order of their beginnings, and what the trainer got."""
    exchanges: list[Exchange] = []
    trained = Trained([], 0, [])
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        if "trained" in fields:
            trained = Trained(**fields["trained"])
            trained = trained._replace(rates=[tuple(rates) for rates in trained.rates])
            continue
        fields["message"] = base64.b64decode(fields.get("message", ""))
        event = Event(**fields)
        if event.kind == "begin":
            exchanges.append(Exchange(event.method, [], "", b""))
        elif event.kind == "end" and event.code != "CANCELLED":
            exchanges[event.call] = exchanges[event.call]._replace(code=event.code, details=event.message)
        elif event.kind != "end":
            exchanges[event.call].events.append(event)
    return exchanges, trained


class Recorder:
    """A service that hands each call on to another, and writes down what passes."""

    def __init__(self, target: str) -> None:
        self.events: list[Event] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(target)
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        self._server.add_generic_rpc_handlers((_AnyMethod(self._pass_on),))
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(1.0).wait()
        self._channel.close()

    def _pass_on(self, method: str, requests, context):
        with self._lock:
            call = next(self._numbers)
            self.events.append(Event(call, "begin", method.removeprefix("/lrs.v1.")))

        def noted():
            with contextlib.suppress(grpc.RpcError):  # the client has ended the call
                for request in requests:
                    self._note(Event(call, "client", message=request))
                    yield request

        onward = self._channel.stream_stream(method)(noted())
        context.add_callback(onward.cancel)
        try:
            for answer in onward:
                self._note(Event(call, "server", message=answer))
                yield answer
            self._note(Event(call, "end", code="OK"))
        except grpc.RpcError as failure:
            trailing = dict(failure.trailing_metadata() or ())
            packed = trailing.get("grpc-status-details-bin", b"")
            self._note(Event(call, "end", message=packed, code=failure.code().name))
            context.set_trailing_metadata((("grpc-status-details-bin", packed),) if packed else ())
            context.abort(failure.code(), failure.details())

    def _note(self, event: Event) -> None:
        with self._lock:
            self.events.append(event)


class _AnyMethod(grpc.GenericRpcHandler):
    """Hands the bytes of every method to a function, as a stream: on the wire, a single message is a stream of one."""

    def __init__(self, handle) -> None:
        self._handle = handle

    def service(self, details):
        method = details.method
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: self._handle(method, requests, context))


class Replier:
    """A service that answers as the server of a record did, and knows no other methods."""

    def __init__(self, exchanges: list[Exchange]) -> None:
        self.unknown: set[str] = set()
        """The methods that were called and that the record does not have."""
        self._answers: dict[str, deque[Exchange]] = {}
        for exchange in exchanges:
            self._answers.setdefault(exchange.method, deque()).append(exchange)
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        self._server.add_generic_rpc_handlers((_AnyMethod(self._answer),))
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        self._server.stop(1.0).wait()

    def _answer(self, method: str, requests, context):
        name = method.removeprefix("/lrs.v1.")
        answers = self._answers.get(name)
        if not answers:
            self.unknown.add(name)
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        exchange = answers.popleft()
        next(requests)
        reached = -1  # the client has reported through this step
        for event in exchange.events:
            if event.kind == "server":
                yield event.message
            # The server of the record had been told as much when it answered what follows.
            while event.kind == "client" and reached < through_step(exchange.method, event.message):
                reached = max(reached, through_step(exchange.method, next(requests)))
        for _ in requests if not exchange.code else ():
            pass  # until the client ends the call
        if exchange.code not in ("", "OK"):
            context.set_trailing_metadata((("grpc-status-details-bin", exchange.details),))
            context.abort(grpc.StatusCode[exchange.code], exchange.code)


def through_step(method: str, message: bytes) -> int:
    """The step through which a message reports; -1 if it reports nothing."""
    from lrs.v1.learning_rate_service_pb2 import StreamTelemetryRequest

    if method != STREAM:
        return -1
    request = StreamTelemetryRequest.FromString(message)
    return request.through_step if request.HasField("through_step") else -1


def main() -> None:
    from server import Server

    logging.basicConfig(level=logging.INFO)
    with tempfile.TemporaryDirectory() as home:
        server = Server(Path(home))
        recorder = Recorder(server.grpc)
        try:
            trained = train(recorder.url)
        finally:
            recorder.close()
            server.kill()
    write(Path(sys.argv[1]), recorder.events, trained)


if __name__ == "__main__":
    main()
