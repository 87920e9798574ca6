"""No status is final: a proxy or a server of another kind may answer for a while, as during a roll-out."""

import time
from concurrent import futures

import grpc
import pytest

import lrs
from fake_service import FakeService
from server import wait_for

QUICK = lrs.Options(
    backoff=lrs.Backoff(first=0.001, longest=0.01),
    slow_backoff=lrs.Backoff(first=0.02, longest=0.05),
    flush_interval=0.01,
)
#: What proxies answer: the statuses that gRPC makes of HTTP's 404, 401, 403, 400, 502, and those of a gateway.
STATUSES = [
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNKNOWN,
]


class Stranger:
    """A server that answers every call with a status, as an ingress without its backend does."""

    def __init__(self, status, port=0):
        self.calls = []
        handler = grpc.stream_stream_rpc_method_handler(self._answer)
        self._status = status

        class Everything(grpc.GenericRpcHandler):
            def service(self, _):
                return handler

        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((Everything(),))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _answer(self, _, context):
        self.calls.append(time.monotonic())
        context.abort(self._status, "404 Not Found")
        yield

    def stop(self):
        self._server.stop(0).wait()
        return self.port


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_in_the_middle_of_a_training_costs_no_telemetry(status, caplog):
    service = FakeService()
    scheduler = lrs.Scheduler("test/fake", server=service.url, groups=0.1, deadline=0.02, options=QUICK)
    for _ in range(5):
        scheduler.step(1.0)
    stranger = Stranger(status, service.stop())
    for _ in range(20):
        scheduler.step(1.0)
    wait_for("some calls", lambda: len(stranger.calls) >= 3)
    assert scheduler.refusal is None
    again = FakeService(port=stranger.stop())
    wait_for("the recovery", lambda: scheduler.step(1.0).standing is lrs.Standing.FINAL)
    trained = scheduler.next_step
    scheduler.close()
    assert sorted({**service.record, **again.record}) == list(range(trained))
    again.stop()
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "goes on with" in caplog.records[0].message
    assert "answers again" in caplog.records[1].message


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_before_the_job_was_ever_served_is_tried_again_slowly(status, caplog):
    stranger = Stranger(status)
    scheduler = lrs.Scheduler(
        "test/fake",
        server=stranger.url,
        groups=0.1,
        total_steps=10_000,
        start_timeout=0.1,
        deadline=0.02,
        options=QUICK,
    )
    for _ in range(10):
        scheduler.step(1.0)
    tried = len(stranger.calls)
    wait_for("another try", lambda: len(stranger.calls) > tried)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Training begins with the given base rates" in caplog.text
    service = FakeService(port=stranger.stop())
    wait_for("the service", lambda: scheduler.step(1.0).standing is lrs.Standing.FINAL)
    trained = scheduler.next_step
    scheduler.close()
    assert sorted(service.record) == list(range(trained)), "the steps before are recorded too"
    service.stop()
    assert "answers again" in caplog.text


def test_the_end_of_a_training_does_not_wait_for_a_slow_retry():
    stranger = Stranger(grpc.StatusCode.UNIMPLEMENTED)
    slow = lrs.Options(
        slow_backoff=lrs.Backoff(first=1000.0, longest=1000.0), backoff=QUICK.backoff, flush_interval=0.01
    )
    scheduler = lrs.Scheduler(
        "test/fake", server=stranger.url, groups=0.1, start_timeout=0.1, deadline=0.02, close_timeout=20.0, options=slow
    )
    for _ in range(10):
        scheduler.step(1.0)
    service = FakeService(port=stranger.stop())
    scheduler.close()
    assert sorted(service.record) == list(range(10))
    service.stop()


def test_without_base_rates_or_with_require_server_the_status_is_raised():
    stranger = Stranger(grpc.StatusCode.UNIMPLEMENTED)
    for more in ({}, {"groups": 0.1, "require_server": True}, {"groups": 0.1, "strict": True}):
        with pytest.raises(lrs.VersionMismatchError, match="check the address"):
            lrs.Scheduler("test/fake", server=stranger.url, start_timeout=0.1, options=QUICK, **more)
    stranger.stop()


def test_require_server_refuses_to_start_where_nobody_listens(caplog):
    port = Stranger(grpc.StatusCode.UNKNOWN).stop()
    known = {"server": f"http://127.0.0.1:{port}", "groups": 0.1, "start_timeout": 0.1}
    with pytest.raises(lrs.UnreachableError, match="lrs serve"):
        lrs.Scheduler("test/fake", **known, require_server=True)
    with pytest.raises(lrs.UnreachableError, match="lrs serve"):
        lrs.Scheduler("test/fake", **known, options=lrs.Options(require_server=True))
    assert not caplog.records


def test_a_wrong_address_is_said_again_at_the_end(caplog):
    port = Stranger(grpc.StatusCode.UNKNOWN).stop()
    scheduler = lrs.Scheduler(
        "test/fake", server=f"http://127.0.0.1:{port}", groups=0.1, start_timeout=0.1, controller="auto", total_steps=20
    )
    for _ in range(20):
        scheduler.step(1.0)
    assert len(caplog.records) == 1
    scheduler.close(0.1)
    assert len(caplog.records) == 2
    said = caplog.records[1].message
    assert "did not confirm 20 steps" in said
    assert "never reached" in said
    assert "require_server=True" in said


def test_a_job_that_a_restored_database_lacks_is_registered_again(own_server, job):
    """The database is emptied while the training goes on."""
    scheduler = lrs.Scheduler(
        job, server=own_server.url, groups=0.1, total_steps=10_000, deadline=0.02, close_timeout=20.0, options=QUICK
    )
    for _ in range(5):
        scheduler.step(1.0)
    wait_for("the samples to be stored", lambda: not scheduler.unacknowledged)
    own_server.kill()
    for path in own_server.directory.glob("lrs.db*"):
        path.unlink()
    own_server.start()
    scheduler.step(1.0)
    wait_for("the samples to be stored again", lambda: scheduler.is_connected and not scheduler.unacknowledged)
    trained = scheduler.next_step
    scheduler.close()
    assert sorted(own_server.record(job)["loss"]) == list(range(trained))
