"""Outages of a real server: training goes on, no step is slow, and the record is complete."""

import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import lrs
from lrs.outbox import FALLBACK_METRIC
from server import wait_for

DEADLINE = 0.05
BOUND = DEADLINE + 0.010
PLATEAU = [{"reduce_lr_on_plateau": {"metric": "loss", "patience": 20, "factor": 0.9}}]


def starved() -> dict[str, float]:
    """The seconds that each thread of this process was ready to run but had no processor."""
    waited = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            waited[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            continue
    return waited


class Training:
    """Trains steps, and measures the slowest without the time in which it had no processor.

    That is what the machine withheld from this thread, and from the one other that it may have waited for.
    """

    def __init__(self, scheduler: lrs.Scheduler, pace: float = 0.002) -> None:
        self.scheduler = scheduler
        self.pace = pace
        self.slowest = 0.0
        self.rates: list[float] = []

    def run(self, until, at_least: int = 1) -> None:
        deadline = time.monotonic() + 60
        first = len(self.rates)
        while not until() or len(self.rates) - first < at_least:
            assert time.monotonic() < deadline, "waited 60 s in vain"
            self.rates.append(self.scheduler.learning_rate)
            waited, before = starved(), time.perf_counter()
            self.scheduler.step(1.0 / (1 + len(self.rates)), grad_norm=2.0)
            took = time.perf_counter() - before
            if took > self.slowest:
                withheld = {name: total - waited.get(name, 0.0) for name, total in starved().items()}
                own = withheld.pop(str(threading.get_native_id()), 0.0)
                self.slowest = max(self.slowest, took - own - max(withheld.values(), default=0.0))
            time.sleep(self.pace)  # the training's own work

    def run_steps(self, steps: int) -> None:
        end = len(self.rates) + steps
        self.run(lambda: len(self.rates) >= end)


def make(server, job, **more):
    options = {"groups": 0.1, "total_steps": 100_000, "controllers": PLATEAU, "decision_lag": 4} | more
    return lrs.Scheduler(job, server=server.url, deadline=DEADLINE, start_timeout=20.0, **options)


def check_record(server, job, training):
    """Check that every step is recorded with the rate it used, and that steps on the plan are marked."""
    steps = range(len(training.rates))
    record = server.record(job)
    assert record["learning_rate"] == dict(zip(steps, training.rates, strict=True))
    assert record["loss"] == {step: 1.0 / (2 + step) for step in steps}
    fallback = training.scheduler.fallback_steps
    # The directive of the step after the last one was not used.
    marked = {step for first, last in fallback.stretches for step in range(first, last + 1)} & set(steps)
    assert set(record.get(FALLBACK_METRIC, {})) == marked
    # A replay finds the same decisions if the telemetry is complete.
    assert server.run("replay", job).returncode == 0
    return marked


@pytest.fixture
def restored(own_server):
    """A function that copies the server's database, and returns a function that puts the copy in its place."""
    database = own_server.directory / "lrs.db"
    copy = own_server.directory / "copy.db"

    def restore():
        own_server.kill()
        for rest in ("-wal", "-shm"):
            Path(f"{database}{rest}").unlink(missing_ok=True)
        shutil.copyfile(copy, database)
        own_server.start()

    def back_up():
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("vacuum into ?", (str(copy),))
        return restore

    return back_up


@pytest.fixture
def patient_close():
    """Options for a test that brings the server back before the scheduler closes."""
    return lrs.Options(backoff=lrs.Backoff(first=0.02, longest=0.2), flush_interval=0.02)


def test_what_a_restored_database_lacks_is_sent_again(own_server, job, patient_close, restored):
    scheduler = make(own_server, job, options=patient_close, close_timeout=20.0)
    training = Training(scheduler)
    mailbox = scheduler._link.mailbox
    training.run_steps(100)
    training.run(lambda: mailbox.unacknowledged < 50)
    restore = restored()
    training.run_steps(300)
    wait_for("the samples to be stored", lambda: not mailbox.unacknowledged)
    restore()
    training.run_steps(50)
    scheduler.close()
    check_record(own_server, job, training)


def test_an_attempt_that_a_restored_database_lacks_is_begun_again(own_server, job, patient_close, restored, caplog):
    with make(own_server, job, options=patient_close) as first:
        first.step(1.0)
    wait_for("the first attempt to be stored", lambda: own_server.record(job)["loss"] == {0: 1.0})
    restore = restored()
    scheduler = make(own_server, job, options=patient_close, close_timeout=20.0)
    training = Training(scheduler)
    mailbox = scheduler._link.mailbox
    training.run_steps(300)
    wait_for("the samples to be stored", lambda: not mailbox.unacknowledged)
    restore()
    training.run_steps(50)
    scheduler.close()
    assert "had lost this attempt" in caplog.text
    check_record(own_server, job, training)


def test_a_server_that_is_killed_and_restarted_mid_run(own_server, job, patient_close):
    scheduler = make(own_server, job, options=patient_close, close_timeout=20.0)
    training = Training(scheduler)
    training.run_steps(100)
    for _ in range(2):
        own_server.kill()
        training.run_steps(150)
        own_server.start()
        training.run(lambda: scheduler.directive.standing is lrs.Standing.FINAL, at_least=50)
    scheduler.close()
    assert scheduler.unacknowledged == 0
    assert check_record(own_server, job, training)
    assert training.slowest < BOUND


def test_a_server_that_is_restarted_without_a_pause_again_and_again(own_server, job, patient_close):
    with make(own_server, job, options=patient_close, close_timeout=20.0) as scheduler:
        training = Training(scheduler)
        training.run_steps(50)

        def restart():
            for _ in range(3):
                own_server.kill()
                own_server.start()

        with ThreadPoolExecutor() as pool:
            restarts = pool.submit(restart)
            training.run(restarts.done)
        restarts.result()
        training.run(lambda: scheduler.directive.standing is lrs.Standing.FINAL, at_least=50)
    check_record(own_server, job, training)
    assert training.slowest < BOUND


def test_an_outage_of_thousands_of_steps_goes_through_a_file_and_loses_nothing(own_server, job, tmp_path):
    bounded = lrs.Options(
        backoff=lrs.Backoff(first=0.02, longest=0.2), max_unacknowledged=2000, spill_directory=str(tmp_path)
    )
    with make(own_server, job, options=bounded, close_timeout=40.0) as scheduler:
        training = Training(scheduler, pace=0.0)
        training.run_steps(100)
        own_server.kill()
        training.run_steps(8000)
        wait_for("the spill", lambda: scheduler._mailbox.in_memory <= 2000)
        assert scheduler.unacknowledged > 7000
        own_server.start()
        training.pace = 0.002
        training.run(lambda: scheduler.directive.standing is lrs.Standing.FINAL, at_least=50)
        wait_for("everything to be durable", lambda: scheduler.unacknowledged == 0)
    assert len(check_record(own_server, job, training)) > 7000
    assert training.slowest < BOUND


def test_what_was_acknowledged_before_a_kill_is_still_there_after_it(own_server, job, patient_close):
    with make(own_server, job, options=patient_close, close_timeout=20.0) as scheduler:
        training = Training(scheduler)
        training.run_steps(100)
        wait_for("the acknowledgement", lambda: scheduler.unacknowledged == 0)
        own_server.kill()
        own_server.start()
        assert sorted(own_server.record(job)["loss"]) == list(range(100)), "before anything was sent again"


def test_a_server_that_is_paused_for_longer_than_the_deadline(own_server, job, patient_close):
    with make(own_server, job, options=patient_close, close_timeout=20.0) as scheduler:
        training = Training(scheduler)
        training.run_steps(100)
        own_server.pause()
        over = time.monotonic() + 20 * DEADLINE
        training.run(lambda: time.monotonic() > over)
        own_server.go_on()
        training.run(lambda: scheduler.directive.standing is lrs.Standing.FINAL, at_least=50)
    assert check_record(own_server, job, training)
    assert training.slowest < BOUND


def test_a_server_that_comes_while_the_end_waits_for_it(own_server, job, patient_close):
    scheduler = make(own_server, job, options=patient_close, close_timeout=30.0)
    training = Training(scheduler)
    training.run_steps(20)
    own_server.kill()
    training.run_steps(100)
    with ThreadPoolExecutor() as pool:
        restart = pool.submit(own_server.start)
        scheduler.close()
    restart.result()
    assert check_record(own_server, job, training)


def test_a_name_that_cannot_be_resolved_at_the_start(job, caplog):
    scheduler = lrs.Scheduler(
        job,
        server="http://no-such-host.invalid:50051",
        groups=0.1,
        total_steps=100,
        deadline=DEADLINE,
        start_timeout=0.5,
    )
    training = Training(scheduler)
    training.run_steps(100)
    assert training.slowest < BOUND
    assert training.rates == [0.1] * 100, "nothing better is known than the base rate"
    assert scheduler.fallback_steps.count == 100
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert scheduler.unacknowledged == 100
    scheduler.close(0.1)


def test_a_server_that_is_there_only_later_gets_the_whole_training(own_server, job, patient_close):
    own_server.kill()
    with lrs.Scheduler(
        job,
        server=own_server.url,
        groups=0.1,
        total_steps=100_000,
        controllers=PLATEAU,
        start_timeout=0.1,
        close_timeout=20.0,
        deadline=DEADLINE,
        options=patient_close,
    ) as scheduler:
        training = Training(scheduler)
        training.run_steps(100)
        own_server.start()
        training.run(lambda: scheduler.directive.standing is lrs.Standing.FINAL, at_least=20)
    check_record(own_server, job, training)
    assert training.slowest < BOUND
