"""Fixtures: a real server, job names, and the end of a server's log where a test fails."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import itertools
import sys

import pytest

import lrs.lifetime
from server import Server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server that tests share. A test that harms its server uses `own_server`."""
    shared = Server(tmp_path_factory.mktemp("server"))
    yield shared
    shared.kill()


@pytest.fixture
def own_server(tmp_path):
    """A server for this test alone."""
    own = Server(tmp_path / "server")
    yield own
    own.kill()


@pytest.fixture
def job(request):
    """A job's name that no other test has."""
    return f"test/{request.node.name.split('[')[0][:50]}-{next(_numbers)}"


@pytest.fixture(autouse=True)
def closed_in_the_end():
    """Close the schedulers that a failed test left open, so that they do not delay the end of the process."""
    yield
    for scheduler in list(lrs.lifetime.living):
        scheduler.close(0)
    lrs.lifetime._complete_later.clear()


@pytest.fixture(autouse=True, scope="module")
def left_as_it_was():
    """Undo what the trainers of a file leave in this process: a process group, and the variables of a launcher."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the end of the server's log when a test fails."""
    report = yield
    if report.failed:
        for name in ("server", "own_server"):
            used = item.funcargs.get(name) if hasattr(item, "funcargs") else None
            if used is not None:
                report.sections.append((f"the log of {name}", used.log_end()))
    return report
