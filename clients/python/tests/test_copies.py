"""Copies of schedulers and callbacks, and forked children: they have the state, and touch no thread and no connection."""

import copy
import io
import pickle
import sys
import threading

import pytest
import torch

import lrs
import lrs.jax
import lrs.keras
import lrs.lightning
import lrs.torch
import lrs.transformers
from processes import run, run_command

WAYS = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "torch.save": lambda thing: saved(thing, weights_only=False),
    "torch.save, loaded as weights": lambda thing: saved(thing, weights_only=True),
}


def saved(thing, **how):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, **how)


def core(server, job):
    return lrs.Scheduler(job, server=server.url, groups=0.1, total_steps=100, schedule="linear", deadline=20.0)


def of_torch(server, job):
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return lrs.torch.LRScheduler(
        optimizer, job, model=model, server=server.url, total_steps=100, schedule="linear", deadline=20.0
    )


def of_jax(server, job):
    return lrs.jax.Scheduler(job, server=server.url, groups=0.1, total_steps=100, schedule="linear", deadline=20.0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("made", [core, of_torch, of_jax])
def test_a_copy_is_the_state_without_threads(server, job, way, made, caplog):
    scheduler = made(server, job)
    for _ in range(10):
        scheduler.step(1.0)
    threads = threading.active_count()
    found = WAYS[way](scheduler)
    assert threading.active_count() == threads
    assert found.state_dict() == scheduler.state_dict()
    assert found.learning_rate == pytest.approx(0.09)
    for _ in range(5):
        assert found.step(9.0).rates == found.directive.rates
    found.close()
    scheduler.step(2.0)
    scheduler.close()
    assert server.record(job)["loss"] == {**dict.fromkeys(range(10), 1.0), 10: 2.0}, "the copy reported nothing"
    assert len(caplog.records) == 1
    assert "This is a copy" in caplog.text
    again = core(server, job)
    again.load_state_dict(found.state_dict())
    assert (again.attempt, again.next_step) == (2, 10)
    again.close()


@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
@pytest.mark.parametrize("callback", [lrs.transformers.LrsCallback, lrs.lightning.LrsCallback, lrs.keras.LrsCallback])
def test_a_callback_is_copied_before_its_training(way, callback):
    """Ray and Lightning send callbacks to other processes."""
    found = WAYS[way](callback("a/b", controller="auto", stop=True))
    assert found._job == "a/b"
    assert found._arguments == {"controller": "auto"}


FORK = """
import os, sys, threading, lrs, lrs.torch, torch
job, server, kind = sys.argv[1:]
if kind == "core":
    scheduler = lrs.Scheduler(job, server=server, groups=0.1, total_steps=8, deadline=20)
    core = scheduler
else:
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1)
    scheduler = lrs.torch.LRScheduler(optimizer, job, server=server, total_steps=8, deadline=20)
    core = scheduler.core
for _ in range(5):
    scheduler.step(0.5)
held, over = threading.Event(), threading.Event()
def hold():
    with core._mailbox._lock, core._figures._lock:  # as a thread of the link may, at the moment of the fork
        held.set()
        over.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if child == 0:
    threads = threading.active_count()
    state = core.state_dict()
    for _ in range(20):
        scheduler.step(9.0)
    scheduler.log(val_loss=1.0)
    assert core.unacknowledged >= 0 and core.metrics_left_out == 0 and core.groups == ["default"]
    assert core.refusal is None and core.attempt == 1 and core.tier == 0
    assert core.finish() is None
    scheduler.close()
    assert threading.active_count() == threads
    del scheduler, core
    sys.exit(0)
over.set()
thread.join()
assert os.waitpid(child, 0)[1] == 0
for _ in range(3):
    scheduler.step(0.5)
scheduler.close()
assert core.fallback_steps.count == 0
"""


@pytest.mark.parametrize("kind", ["core", "torch"])
def test_a_forked_child_never_touches_the_link(server, job, kind):
    run(FORK, job, server.url, kind)
    assert server.record(job)["loss"] == dict.fromkeys(range(8), 0.5)
    assert "val_loss" not in server.record(job)


def test_a_data_loader_with_the_scheduler_in_its_dataset(server, job, tmp_path):
    """Both kinds of workers: forked ones inherit the object, spawned ones get a copy."""
    program = """
import sys, torch, lrs.torch
from torch.utils.data import DataLoader, Dataset

class Curriculum(Dataset):
    def __init__(self, scheduler):
        self.scheduler = scheduler
    def __len__(self):
        return 16
    def __getitem__(self, index):
        self.scheduler.log(val_loss=9.0)
        return torch.full((2,), float(self.scheduler.get_last_lr()[0]))

if __name__ == "__main__":
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = lrs.torch.LRScheduler(optimizer, sys.argv[1], server=sys.argv[2], total_steps=100, deadline=20)
    for method in ("fork", "spawn"):
        for x in DataLoader(Curriculum(scheduler), batch_size=8, num_workers=1, multiprocessing_context=method):
            assert abs(float(x[0, 0]) - 0.1) < 1e-6
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()
            scheduler.step(1.0)
    assert scheduler.core.fallback_steps.count == 0
"""
    path = tmp_path / "train.py"  # a spawned worker imports it
    path.write_text(program)
    done = run_command([sys.executable, str(path), job, server.url], timeout=180)
    assert "lrs" not in done.stderr, done.stderr
    assert sorted(server.record(job)["loss"]) == list(range(4))
    assert "val_loss" not in server.record(job)


def test_a_new_scheduler_in_a_child_of_a_user_says_why_it_cannot_connect(server, job):
    program = """
import os, sys, lrs
known = {"server": sys.argv[2], "groups": 0.1, "total_steps": 10}
lrs.Scheduler(sys.argv[1], **known, deadline=20).close()
child = os.fork()
if child == 0:
    try:
        lrs.Scheduler(sys.argv[1], **known, start_timeout=0.2, require_server=True)
    except lrs.UnreachableError as problem:
        os._exit(0 if "start processes by `spawn`" in str(problem) else 2)
    os._exit(3)
assert os.waitpid(child, 0)[1] == 0
"""
    run(program, job, server.url)


def test_processes_that_are_forked_before_lrs_is_used_train(server, job):
    program = """
import os, sys, lrs
children = []
for name in "ab":
    child = os.fork()
    if child == 0:
        with lrs.Scheduler(sys.argv[1] + name, server=sys.argv[2], groups=0.1, total_steps=10, deadline=20) as scheduler:
            for _ in range(5):
                scheduler.step(1.0)
            sys.exit(scheduler.fallback_steps.count)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
"""
    run(program, job, server.url)
    assert sorted(server.record(job + "a")["loss"]) == list(range(5))
