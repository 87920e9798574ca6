"""The exceptions of this client. Each message says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import Iterable


class LrsError(Exception):
    """Any error of this client.

    `code` is the name of the gRPC status that caused the error, or `USAGE` if no call failed. `reason` is the service's
    stable name of the cause, such as `JOB_NOT_FOUND`; empty if the service gave none.
    """

    def __init__(self, message: str, *, code: str = "USAGE", reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class UsageError(LrsError, ValueError):
    """An invalid argument or call. Nothing was changed."""


class ArgumentError(UsageError, TypeError):
    """A keyword that the scheduler or callback does not take."""


class MetricError(UsageError, TypeError):
    """A loss, norm or metric that is not a number."""


class StepError(UsageError):
    """A step number that is not greater than the last reported one."""


class ResumeError(LrsError):
    """A checkpoint that does not belong to the job's present history, or a resume past the end of its schedule."""


class UnreachableError(LrsError):
    """The service did not answer in time. Raised in a training loop only with `strict`."""


class NotDurableError(LrsError):
    """The service has not confirmed that it stored every reported step."""


class RefusedError(LrsError):
    """The service refused the request and would refuse it again."""


class JobNotFoundError(RefusedError):
    """There is no such job, and the arguments do not say how to register one."""


class JobEndedError(RefusedError):
    """The job has ended, so it cannot be trained any more."""


class VersionMismatchError(RefusedError):
    """The server does not speak `lrs.v1`: it is another major version of lrs, or another service."""


_PERMANENT = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)


def is_permanent(failure: grpc.RpcError) -> bool:
    """Whether the service would refuse the same call again."""
    return status_code(failure) in _PERMANENT


def is_final(failure: grpc.RpcError) -> bool:
    """Whether the service itself refuses, and says why. A bare status may come from a proxy, as during a roll-out."""
    return is_permanent(failure) and reason_of(failure) != ""


def is_unknown_job(failure: grpc.RpcError) -> bool:
    """Whether the service does not know the job: it has lost it, if it has known it before."""
    return reason_of(failure) == "JOB_NOT_FOUND"


def is_unknown_attempt(failure: grpc.RpcError) -> bool:
    """Whether the service does not know the attempt: it has lost it, if it has known it before."""
    return reason_of(failure) in ("UNKNOWN_ATTEMPT", "NO_ATTEMPT")


def status_code(failure: grpc.RpcError) -> grpc.StatusCode:
    """The status of a failed call."""
    code = getattr(failure, "code", None)
    status = code() if callable(code) else None
    return status if isinstance(status, grpc.StatusCode) else grpc.StatusCode.UNKNOWN


def details(failure: grpc.RpcError) -> str:
    """The message of a failed call."""
    text = getattr(failure, "details", None)
    return str(text()) if callable(text) else str(failure)


def sentence(text: str) -> str:
    """The text with a full stop at its end, so that another sentence may follow."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def refusal(failure: grpc.RpcError, job: str, server: str) -> RefusedError:
    """The exception for a call that the service refuses for good."""
    code, reason, text = status_code(failure), reason_of(failure), details(failure)
    known = {"code": code.name, "reason": reason}
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return VersionMismatchError(
            f"{server} does not speak lrs.v1, so it is another major version of lrs, or not lrs at all ({text}). "
            "Install the lrs-client of the server's major version, or check the address.",
            **known,
        )
    if reason == "JOB_NOT_FOUND" or (code is grpc.StatusCode.NOT_FOUND and not reason):
        return JobNotFoundError(
            f"There is no {job} on {server}. Check the name, register the job with `lrs job register -f FILE`, or give the "
            "Scheduler the arguments to register it with (total_steps, schedule, controller, …).",
            **known,
        )
    if reason == "JOB_ENDED":
        return JobEndedError(f"{text}. Train under a new job name, or fork this one with `lrs job fork`.", **known)
    if reason == "ATTEMPT_TOKEN_REUSED":
        return RefusedError(
            f"Another attempt, which began at another step, has this attempt token ({text}). Resume all processes of a start "
            "at the same step, and give each restart an attempt_token of its own.",
            **known,
        )
    if reason == "STALE_ATTEMPT":
        return RefusedError(
            f"A newer attempt of {job} has been started ({text}), so another process trains the job now. This process keeps "
            "the rates it has, and the service records nothing more of it.",
            **known,
        )
    return RefusedError(sentence(f"The service refused {job}: {text}"), **known)


def reason_of(failure: grpc.RpcError) -> str:
    """The `google.rpc.ErrorInfo.reason` of a failed call; empty if it has none."""
    trailers: Iterable[tuple[str, str | bytes]] = getattr(failure, "trailing_metadata", lambda: None)() or ()
    for key, value in trailers:
        if key == "grpc-status-details-bin" and isinstance(value, bytes):
            return _error_info_reason(value)
    return ""


def _error_info_reason(status: bytes) -> str:
    # google.rpc.Status has its details in field 3, google.rpc.ErrorInfo its reason in field 1. Reading two fields does
    # not justify another dependency.
    for detail in _length_delimited(status, 3):
        packed = any_pb2.Any()
        try:
            packed.ParseFromString(detail)
        except DecodeError:
            continue
        if packed.type_url.endswith("/google.rpc.ErrorInfo"):
            return next((text.decode(errors="replace") for text in _length_delimited(packed.value, 1)), "")
    return ""


def _length_delimited(message: bytes, wanted: int) -> Iterable[bytes]:
    """The contents of a message's length-delimited fields with one number."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 2:
            length, at = _varint(message, at)
            if tag >> 3 == wanted:
                yield message[at : at + length]
            at += length
        elif kind == 0:
            _, at = _varint(message, at)
        else:
            at += {1: 8, 5: 4}.get(kind, len(message))


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at
