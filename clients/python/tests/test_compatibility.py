"""This release beside the one before: the record of its client and its server, see `conversation.py`."""

import contextlib
import logging
import queue
import threading

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.unknown_fields import UnknownFieldSet

import conversation
from conversation import STREAM
from lrs.errors import _error_info_reason
from lrs.field_options import is_repeated
from lrs.v1 import job_pb2, job_service_pb2, learning_rate_service_pb2
from lrs.v1.learning_rate_service_pb2 import StreamTelemetryResponse
from server import wait_for

ANSWERS = {
    "JobService/CreateJob": job_pb2.Job,
    "JobService/GetJob": job_pb2.Job,
    "JobService/ListAttempts": job_service_pb2.ListAttemptsResponse,
    "LearningRateService/StartAttempt": learning_rate_service_pb2.StartAttemptResponse,
    "LearningRateService/GetLearningRate": learning_rate_service_pb2.GetLearningRateResponse,
    STREAM: StreamTelemetryResponse,
}
#: What every database and every day has its own values of.
OWN_VALUES = {"uid", "etag", "seconds", "nanos"}
#: What a server may tell or not: texts for people, when it stores telemetry, and how much of a plan is final already.
OPTIONAL = {"warnings", "notices", "durable_messages", "final_steps"}


@pytest.fixture(scope="module")
def record():
    return conversation.read(conversation.PREVIOUS)


def test_the_record_has_every_method_that_a_scheduler_of_then_calls(record):
    exchanges, trained = record
    assert {exchange.method for exchange in exchanges} == set(ANSWERS)
    assert {exchange.code for exchange in exchanges} == {"", "OK", "ALREADY_EXISTS", "NOT_FOUND"}
    assert (len(trained.rates), trained.fallback_steps) == (53, 0)


def test_the_server_answers_the_client_of_the_release_before(own_server, record):
    """The requests come again, byte for byte. What that client was told by its own server, it is told now."""
    with grpc.insecure_channel(own_server.grpc) as channel:
        for number, exchange in enumerate(record[0]):
            where = f"call {number}, {exchange.method}"
            answers, code, details = replay(channel, exchange)
            assert (code, _error_info_reason(details)) == (exchange.code, _error_info_reason(exchange.details)), where
            told, now = (parsed(exchange.method, answers) for answers in (exchange.messages("server"), answers))
            if exchange.method == STREAM:
                told, now = [awaited(exchange)], [joined(now)]
                known = {directive.step: directive for directive in now[0].directives}
                del now[0].directives[:]
                now[0].directives.extend(known[directive.step] for directive in told[0].directives)
            for told_one, now_one in zip(told, now, strict=True):
                assert lacks(told_one, now_one) == [], where


def test_the_client_works_with_the_server_of_the_release_before(record, caplog):
    """It is answered as that server answered, and trains at the same rates."""
    exchanges, trained = record
    service = conversation.Replier(exchanges)
    try:
        with caplog.at_level(logging.WARNING, logger="lrs"):
            assert conversation.train(service.url) == trained
    finally:
        service.close()
    # That server knows methods that its client did not call; this one knows none beyond the record.
    assert service.unknown <= {"JobService/ListChanges", "JobService/CompleteJob"}
    told = [entry.getMessage() for entry in caplog.records]
    assert len([text for text in told if "could not be told" in text]) == 2 * (
        "JobService/CompleteJob" in service.unknown
    )


def test_an_answer_that_lacks_something_is_found():
    told = StreamTelemetryResponse(durable_through_step=3, directives=[{"step": 4, "rates": [{"learning_rate": 0.5}]}])
    now = StreamTelemetryResponse(durable_through_step=4, directives=[{"step": 4, "rates": [{"group": "a"}]}])
    assert lacks(told, told) == []
    assert lacks(told, now) == ["durable_through_step was 3 and is 4", "directives[0].rates[0].learning_rate is gone"]
    renumbered = StreamTelemetryResponse.FromString(told.SerializeToString() + b"\xa8\x1f\x01")
    assert lacks(renumbered, told) == ["field 501 has no meaning any more"]


def replay(channel, exchange):
    """Make a call of the record again. Returns the answers, and the code and the details of its status.

    Each message goes out once as much has been answered as in the record. A call that the client ended has no code.
    """
    outgoing, answers, is_over = queue.SimpleQueue(), [], threading.Event()
    call = channel.stream_stream(f"/lrs.v1.{exchange.method}")(iter(outgoing.get, None))

    def listen():
        with contextlib.suppress(grpc.RpcError):
            for answer in call:
                answers.append(answer)  # noqa: PERF402 (seen while the call goes on)
        is_over.set()

    def await_answers(events):
        told = [event.message for event in events if event.kind == "server"]
        if exchange.method == STREAM:
            newest, durable = progress(told)
            needed = (min(newest, reported(events) + 1), durable)
            wait_for(
                f"answers through {needed}",
                lambda: is_over.is_set() or all(map(lambda now, then: now >= then, progress(list(answers)), needed)),
            )
            assert not is_over.is_set(), f"{call.code()}: {call.details()}"

    threading.Thread(target=listen, daemon=True).start()
    for index, event in enumerate(exchange.events):
        if event.kind == "client":
            await_answers(exchange.events[:index])
            outgoing.put(event.message)
    await_answers(exchange.events)
    outgoing.put(None)
    if not exchange.code:
        call.cancel()
    wait_for(f"the end of {exchange.method}", is_over.is_set)
    if not exchange.code:
        return answers, "", b""
    return answers, call.code().name, dict(call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")


def progress(answers):
    """How far the answers of a stream have come: the newest directive, and the stored telemetry."""
    whole = joined(parsed(STREAM, answers))
    return (whole.directives[-1].step if whole.directives else -1, whole.durable_through_step)


def reported(events):
    """The last step that the client has reported; -1 before the first."""
    return max(
        (conversation.through_step(STREAM, event.message) for event in events if event.kind == "client"), default=-1
    )


def parsed(method, messages):
    return [ANSWERS[method].FromString(message) for message in messages]


def joined(answers):
    """The answers of a stream as one: the directives in the order of their steps."""
    whole = StreamTelemetryResponse()
    for answer in answers:
        whole.MergeFrom(answer)
    directives = {directive.step: directive for directive in whole.directives}
    del whole.directives[:]
    whole.directives.extend(directives[step] for step in sorted(directives))
    return whole


def awaited(exchange):
    """The answers of a stream of the record as one, without directives that the trainer had no use for.

    These are of steps that had been reported already, and of steps that it never came to: how far ahead steps are given out
    is the server's own affair.
    """
    needed, end = [], reported(exchange.events) + 1
    for index, event in enumerate(exchange.events):
        if event.kind == "server":
            known = reported(exchange.events[:index])
            (answer,) = parsed(STREAM, [event.message])
            directives = [directive for directive in answer.directives if known < directive.step <= end]
            del answer.directives[:]
            answer.directives.extend(directives)
            needed.append(answer.SerializeToString())
    return joined(parsed(STREAM, needed))


def lacks(told, now, place=""):
    """What a message tells and another, of later, does not: fields, values, and numbers of fields without a meaning."""
    found = [f"{place}field {unknown.field_number} has no meaning any more" for unknown in UnknownFieldSet(told)]
    for field, value in told.ListFields():
        here, other = place + field.name, getattr(now, field.name)
        if field.name in OPTIONAL:
            continue
        if not (other if is_repeated(field) or not field.has_presence else now.HasField(field.name)):
            found.append(f"{here} is gone")
        elif field.type == FieldDescriptor.TYPE_MESSAGE and not is_repeated(field):
            found += lacks(value, other, f"{here}.")
        elif field.type == FieldDescriptor.TYPE_MESSAGE and not field.message_type.GetOptions().map_entry:
            for index, (one, another) in enumerate(zip(value, other, strict=False)):
                found += lacks(one, another, f"{here}[{index}].")
            if len(other) < len(value):
                found.append(f"{here} had {len(value)} elements and has {len(other)}")
        elif value != other and field.name not in OWN_VALUES:
            found.append(f"{here} was {value} and is {other}")
    return found
