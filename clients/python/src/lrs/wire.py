"""The calls of `lrs.v1` that a trainer makes over a connection."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

import grpc

from lrs.environment import warn_of_unknown
from lrs.errors import UsageError
from lrs.forks import note_connection
from lrs.proxies import is_loopback
from lrs.v1.job_pb2 import Job
from lrs.v1.job_service_pb2 import (
    CreateJobRequest,
    GetJobRequest,
    ListAttemptsRequest,
    ListAttemptsResponse,
    UpdateJobRequest,
)
from lrs.v1.learning_rate_service_pb2 import (
    GetLearningRateRequest,
    GetLearningRateResponse,
    StartAttemptRequest,
    StartAttemptResponse,
    StreamTelemetryRequest,
    StreamTelemetryResponse,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.protobuf.message import Message

DEFAULT_SERVER = "http://127.0.0.1:50051"
#: How the address begins that stands for a folder in place of a server.
OFFLINE = "file://"
_HOST = re.compile(r"""[^\s"'<>@]+""")
_PASSWORD = re.compile(r"(?<=://)[^@]*@|^[^@/]*@")

# gRPC probes a silent connection, so that it notices when the server has vanished. A new connection has its own sockets
# and asks the name service again; the link decides how long to wait before it.
_OPTIONS: tuple[tuple[str, int | str], ...] = (
    # The server records that what a trainer orders came from one.
    ("grpc.primary_user_agent", "lrs-trainer/python"),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Small messages need no estimate of the bandwidth, which would cost a ping after each message.
    ("grpc.http2.bdp_probe", 0),
    # Compressing an answer of a hundred bytes costs more than it saves: accept only uncompressed answers, which is bit
    # 0.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # The largest job, with its schedule as written and as expanded, fits in this.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)

_Request = TypeVar("_Request", bound="Message")
_Response = TypeVar("_Response", bound="Message")


class Call(Generic[_Request, _Response]):
    """A call with a single request and a single answer."""

    def __init__(self, connection: Connection, method: str, response: type[_Response]) -> None:
        self._metadata = connection.metadata
        self._call = connection.channel.unary_unary(
            f"/lrs.v1.{method}",
            request_serializer=_serialize,
            response_deserializer=response.FromString,
        )

    def __call__(self, request: _Request, timeout: float) -> _Response:
        """Make the call. Raises `grpc.RpcError`."""
        answer: _Response = self._call(request, timeout=timeout, metadata=self._metadata)
        return answer


class Connection:
    """A channel to a server, and the calls over it."""

    def __init__(
        self, server: str, credentials: grpc.ChannelCredentials | None, metadata: Sequence[tuple[str, str]]
    ) -> None:
        note_connection()
        self.metadata = tuple(metadata)
        target, secure = parse_server(server)
        # A proxy cannot reach this machine's own loopback.
        options = (*_OPTIONS, ("grpc.enable_http_proxy", int(not is_loopback(target))))
        if secure or credentials is not None:
            self.channel = grpc.secure_channel(target, credentials or grpc.ssl_channel_credentials(), options)
        else:
            self.channel = grpc.insecure_channel(target, options)
        self.create_job: Call[CreateJobRequest, Job] = Call(self, "JobService/CreateJob", Job)
        self.update_job: Call[UpdateJobRequest, Job] = Call(self, "JobService/UpdateJob", Job)
        self.get_job: Call[GetJobRequest, Job] = Call(self, "JobService/GetJob", Job)
        self.list_attempts: Call[ListAttemptsRequest, ListAttemptsResponse] = Call(
            self, "JobService/ListAttempts", ListAttemptsResponse
        )
        self.start_attempt: Call[StartAttemptRequest, StartAttemptResponse] = Call(
            self, "LearningRateService/StartAttempt", StartAttemptResponse
        )
        self.get_learning_rate: Call[GetLearningRateRequest, GetLearningRateResponse] = Call(
            self, "LearningRateService/GetLearningRate", GetLearningRateResponse
        )

    def stream_telemetry(self, requests: Iterator[StreamTelemetryRequest]) -> Any:  # noqa: ANN401 (grpc declares no type)
        """Open the stream, and return an iterator over its answers that has a method `cancel`."""
        stream = self.channel.stream_stream(
            "/lrs.v1.LearningRateService/StreamTelemetry",
            request_serializer=_serialize,
            response_deserializer=StreamTelemetryResponse.FromString,
        )
        return stream(requests, metadata=self.metadata)

    def close(self) -> None:
        """Close the channel, which ends its calls."""
        self.channel.close()


def server_address(given: object) -> str:
    """The address of the server: the one that was given, or that of `LRS_SERVER`, or the default.

    Raises `UsageError` if it is no address. Warns of environment variables that nobody reads.
    """
    warn_of_unknown(os.environ)
    place, server = ("server", given) if given else ("LRS_SERVER", bare(os.environ.get("LRS_SERVER", "")))
    if not isinstance(server, str):
        raise UsageError(f"server must be a text such as {DEFAULT_SERVER!r}, and was {server!r:.60}.")
    address = bare(server) or DEFAULT_SERVER
    parse_server(address, place)
    return address


def parse_server(server: str, place: str = "server") -> tuple[str, bool]:
    """The `host:port` of an address such as `http://host:50051`, and whether to use TLS."""
    try:
        parts = urlsplit(server if "://" in server else f"http://{server}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_plain = not (parts.username or parts.query or parts.fragment) and parts.path in ("", "/")
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or not port or not is_plain:
        shown = _PASSWORD.sub("***@", server)
        raise UsageError(
            f"{place}: {shown!r:.120} is not the address of a server: write http://HOST:PORT, or https://HOST:PORT for TLS, "
            "with a port from 1 to 65535 and nothing after it."
        )
    return f"{f'[{host}]' if ':' in host else host}:{port}", parts.scheme == "https"


def bare(text: str) -> str:
    """A text without spaces and quotes around it, which files of variables may keep."""
    text = text.strip()
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
