"""The record of a finished run: as many steps as were trained, the evaluation that was logged, and a job that has ended."""

import gc
import math
import threading

import pytest
import torch

import lrs
import lrs.torch
from lrs.typed import objective_of
from lrs.v1.controller_pb2 import MODE_MAX, MODE_MIN
from lrs.v1.job_pb2 import Job
from processes import run
from server import wait_for

PLATEAU = [{"reduce_lr_on_plateau": {"metric": "val_loss", "patience": 100}}]


def make(server, job, **more):
    known = {"server": server.url, "groups": 0.1, "total_steps": 36, "deadline": 20.0}
    return lrs.Scheduler(job, **(known | more))


@pytest.mark.parametrize("more", [{}, {"controllers": PLATEAU}, {"controllers": PLATEAU, "decision_lag": 8}])
def test_a_finished_run_has_as_many_steps_as_were_trained(server, job, more):
    with make(server, job, schedule="cosine", objective="val_loss", **more) as scheduler:
        for step in range(36):
            scheduler.step(1.0 / (1 + step))
            if step % 9 == 8:
                scheduler.log(val_loss=0.5 + step)
        assert scheduler.fallback_steps.count == 0
    record = server.record(job)
    assert sorted(record["loss"]) == list(range(36))
    assert sorted(record["learning_rate"]) == list(range(36))
    assert record["val_loss"] == {9: 8.5, 18: 17.5, 27: 26.5, 35: 35.5}
    found = server.job(job)
    assert found.state == Job.STATE_COMPLETED
    assert (found.spec.objective.metric, found.spec.objective.mode) == ("val_loss", MODE_MIN)
    assert server.run("replay", job).returncode == 0
    report = server.run("report", job).stdout.replace("\\", "")
    assert "steps: **36** (36 records)" in report
    assert "final val_loss: **35.5** (best 8.5 at step 9)" in report


def test_a_run_that_stops_before_its_end_is_not_completed(server, job):
    with make(server, job) as scheduler:
        for _ in range(35):
            scheduler.step(1.0)
        state = scheduler.state_dict()
    assert server.job(job).state == Job.STATE_RUNNING
    with make(server, job) as resumed:
        resumed.load_state_dict(state)
        resumed.step(0.5)
    assert server.job(job).state == Job.STATE_COMPLETED
    assert sorted(server.record(job)["loss"]) == list(range(36))


def test_a_run_finishes_when_it_says_so(server, job):
    scheduler = make(server, job)
    scheduler.step(1.0)
    with pytest.raises(lrs.UsageError, match="COMPLETED, FAILED or CANCELLED"):
        scheduler.finish("DONE")
    scheduler.finish("FAILED", "out of memory")
    found = server.job(job)
    assert (found.state, found.state_reason) == (Job.STATE_FAILED, "out of memory")
    assert sorted(server.record(job)["loss"]) == [0]


def test_a_job_stays_open_if_it_is_asked_to(server, job):
    with make(server, job, complete=False) as scheduler:
        for _ in range(36):
            scheduler.step(1.0)
    assert server.job(job).state == Job.STATE_RUNNING
    assert sorted(server.record(job)["loss"]) == list(range(36))


def test_steps_past_the_end_are_recorded_too(server, job):
    with make(server, job) as scheduler:
        for _ in range(36):
            scheduler.step(1.0)
        assert scheduler.unacknowledged > 0, "the last step waits for evaluations"
        for _ in range(4):
            scheduler.step(2.0)
            scheduler.log(val_loss=3.0)
    assert sorted(server.record(job)["loss"]) == list(range(40))


def test_a_process_that_ends_without_closing_completes_its_job(server, job):
    program = """
import sys, lrs
def train():
    scheduler = lrs.Scheduler(sys.argv[1], server=sys.argv[2], groups=0.1, total_steps=20, deadline=20)
    for _ in range(20):
        scheduler.step(0.5)
    scheduler.log(val_accuracy=0.75)
train()  # which forgets its scheduler
"""
    assert run(program, job, server.url).stderr == ""
    assert sorted(server.record(job)["loss"]) == list(range(20))
    assert server.job(job).state == Job.STATE_COMPLETED
    assert server.record(job)["val_accuracy"] == {19: 0.75}


@pytest.mark.parametrize(
    ("objective", "mode"),
    [("loss", MODE_MIN), ("val_loss", MODE_MIN), ("val_accuracy", MODE_MAX), ("eval/f1", MODE_MAX), ("mape", MODE_MIN)],
)
def test_an_objective_is_given_by_its_metric(server, job, objective, mode):
    make(server, job, objective=objective).close()
    found = server.job(job).spec.objective
    assert (found.metric, found.mode) == (objective, mode)
    assert objective_of({"metric": "x"}) == {"metric": "x"}


def test_an_objective_that_was_never_reported_is_said_at_the_end(server, job, caplog):
    with make(server, job, objective="val_los") as scheduler:
        for _ in range(36):
            scheduler.step(1.0)
        scheduler.log(val_loss=0.1)
    assert len(caplog.records) == 1
    assert "The objective of" in caplog.text
    assert "val_los, which was never reported; reported were: loss, val_loss." in caplog.text


def test_a_callback_s_job_is_completed_at_the_end_of_the_process_and_a_second_fit_goes_on(server, job):
    program = """
import os, sys
os.environ.update(KERAS_BACKEND="jax", JAX_PLATFORMS="cpu")
import keras, numpy, lrs.keras
model = keras.Sequential([keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
x = numpy.ones((32, 2), "float32")
callback = lrs.keras.LrsCallback(sys.argv[1], server=sys.argv[2], deadline=20)
for epochs in (2, 4):
    model.fit(x, x[:, :1], batch_size=8, epochs=epochs, initial_epoch=epochs - 2, verbose=0, callbacks=[callback])
"""
    run(program, job, server.url, timeout=180)
    found = server.job(job)
    assert found.state == Job.STATE_COMPLETED
    assert sorted(server.record(job)["loss"]) == list(range(16))


def links():
    return [thread for thread in threading.enumerate() if thread.name.startswith("lrs-")]


@pytest.mark.parametrize("names", ["the same job", "a job each"])
@pytest.mark.parametrize("begins", [False, True])
def test_a_cell_that_is_run_thirty_times_leaves_the_threads_of_one_scheduler(server, job, names, begins):
    scheduler = None
    for run_again in range(30):
        optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1)
        name = job if names == "the same job" else f"{job}-{run_again}"
        scheduler = lrs.torch.LRScheduler(optimizer, name, server=server.url, total_steps=100, deadline=20.0)
        for _ in range(3 if begins else 0):
            scheduler.step(1.0)
    gc.collect()
    wait_for("the older ones to end", lambda: len(links()) <= 2)
    assert scheduler.core.refusal is None
    scheduler.step(1.0)
    scheduler.close()
    wait_for("the last to end", lambda: not links())
    if begins:
        assert sorted(server.record(name)["loss"]) == list(range(4))


def test_the_older_scheduler_of_a_job_says_why_it_is_closed(server, job):
    old = make(server, job)
    old.step(1.0)
    new = make(server, job)
    assert "newer attempt" in str(old.refusal)
    for _ in range(100):
        assert old.step(9.0).rates == (0.1,)
    assert len(old._mailbox.inbox) <= 1, "a closed scheduler keeps nothing"
    new.step(2.0)
    new.close()
    assert math.isclose(server.record(job)["loss"][0], 2.0)


def test_ranks_that_are_threads_of_one_process_do_not_close_each_other(server, job):
    known = {"spec": {"reporting_ranks": 2}, "attempt_token": "both"}
    with (
        make(server, job, **known, options=lrs.Options(rank=0)) as first,
        make(server, job, **known, options=lrs.Options(rank=1)) as second,
    ):
        for _ in range(3):
            threads = [threading.Thread(target=one.step, args=(1.0,)) for one in (first, second)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert first.refusal is None
        assert second.refusal is None


def test_the_last_of_several_reporting_ranks_completes_the_job(server, job):
    known = {"total_steps": 4, "spec": {"reporting_ranks": 2}, "attempt_token": "both"}
    ranks = [make(server, job, **known, options=lrs.Options(rank=rank, deadline=20.0)) for rank in (0, 1)]
    for _ in range(4):
        threads = [threading.Thread(target=rank.step, args=(1.0,)) for rank in ranks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ranks[1].close()
    assert server.job(job).state == Job.STATE_RUNNING, "rank 0 may have more to report"
    ranks[0].close()
    assert server.job(job).state == Job.STATE_COMPLETED
