"""The cost of a bare gRPC stream at a pace: the link's background work would cost as much if our part cost nothing."""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_MESSAGE = bytes(150)


def _echo(port: Connection) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    handler = grpc.stream_stream_rpc_method_handler(lambda requests, _: requests)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Say": handler}),))
    port.send(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


def open_stream() -> queue.SimpleQueue[bytes | None]:
    """A stream to another process, which answers each message with a message of the same size."""
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=_echo, args=(theirs,), daemon=True).start()
    channel = grpc.insecure_channel(f"127.0.0.1:{ours.recv()}", (("grpc.http2.bdp_probe", 0),))
    messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    answers = channel.stream_stream("/bench.Echo/Say")(iter(messages.get, None))

    def read() -> None:
        for _ in answers:
            pass
        channel.close()

    threading.Thread(target=read, daemon=True).start()
    return messages


def exchange(messages: queue.SimpleQueue[bytes | None], pace: float, seconds: float) -> None:
    """Send a message every `pace` seconds."""
    due = time.perf_counter()
    over = due + seconds
    while due < over:
        messages.put(_MESSAGE)
        due += pace
        time.sleep(max(0.0, due - time.perf_counter()))
