"""Forks, threads, DataLoader workers, and the end of the process."""

import threading

import pytest

import lrs
from processes import run


def make(server, job, **more):
    return lrs.Scheduler(job, server=server.url, groups=0.1, total_steps=10_000, deadline=20.0, **more)


def test_a_process_that_ends_without_closing_loses_nothing(server, job):
    program = """
import sys, lrs
scheduler = lrs.Scheduler(sys.argv[1], server=sys.argv[2], groups=0.1, total_steps=100, deadline=20)
for _ in range(50):
    scheduler.step(0.5)
"""
    done = run(program, job, server.url)
    assert done.stderr == ""
    assert sorted(server.record(job)["loss"]) == list(range(50))


def test_a_forked_child_holds_its_rate_says_nothing_and_ends(server, job):
    program = """
import os, sys, lrs
scheduler = lrs.Scheduler(sys.argv[1], server=sys.argv[2], groups=0.1, total_steps=100, schedule={"linear": {}}, deadline=20)
for _ in range(5):
    scheduler.step(0.5)
child = os.fork()
if child == 0:
    before = scheduler.learning_rate
    for _ in range(100):
        assert scheduler.step(9.0).rates[0] == before
    scheduler.log(val_loss=1.0)
    scheduler.state_dict()
    scheduler.close()
    del scheduler
    sys.exit(0)  # with all that Python does at its end
_, status = os.waitpid(child, 0)
assert status == 0, status
for _ in range(5):
    scheduler.step(0.5)
scheduler.close()
assert scheduler.fallback_steps.count == 0
"""
    run(program, job, server.url)
    assert server.record(job)["loss"] == dict.fromkeys(range(10), 0.5)


def test_training_with_dataloader_workers(server, job):
    pytest.importorskip("torch")
    program = """
import sys, torch, lrs.torch
from torch.utils.data import DataLoader, TensorDataset
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = lrs.torch.LRScheduler(optimizer, sys.argv[1], server=sys.argv[2], total_steps=100, deadline=20)
data = TensorDataset(torch.randn(64, 4), torch.randn(64, 1))
for epoch in range(2):
    for x, y in DataLoader(data, batch_size=8, num_workers=2, multiprocessing_context="fork"):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step(loss)
assert scheduler.core.fallback_steps.count == 0
"""
    done = run(program, job, server.url)
    assert "lrs" not in done.stderr, done.stderr
    assert "fork" not in done.stderr, done.stderr
    assert sorted(server.record(job)["loss"]) == list(range(16))


def test_figures_and_questions_may_come_from_any_thread(server, job):
    with make(server, job) as scheduler:
        over = threading.Event()
        problems = []

        def pester(name):
            try:
                while not over.wait(0.0005):
                    scheduler.log(**{name: 1.0})
                    assert scheduler.learning_rate == 0.1
                    scheduler.state_dict()
                    assert scheduler.unacknowledged >= 0
            except Exception as problem:  # noqa: BLE001 (shown below)
                problems.append(problem)

        threads = [threading.Thread(target=pester, args=(f"from_{index}",)) for index in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(500):
            scheduler.step(0.5)
        over.set()
        for thread in threads:
            thread.join()
    assert problems == []
    record = server.record(job)
    assert sorted(record["loss"]) == list(range(500))
    assert {"from_0", "from_1", "from_2", "from_3"} <= set(record)


def test_two_schedulers_in_one_process_do_not_mix(server, job):
    with make(server, job + "-a") as first, make(server, job + "-b") as second:
        for _ in range(20):
            first.step(1.0)
            second.step(2.0)
    assert set(server.record(job + "-a")["loss"].values()) == {1.0}
    assert set(server.record(job + "-b")["loss"].values()) == {2.0}


def test_threads_end_with_the_scheduler(server, job):
    with make(server, job) as scheduler:
        scheduler.step(0.5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lrs-")]
