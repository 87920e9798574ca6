"""A real server for the tests, and what they ask it."""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import itertools
import socket

import pytest

import lrs.lifetime
from server import Server

_numbers = itertools.count()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """A server that all tests share; those that harm theirs make one of their own."""
    shared = Server(tmp_path_factory.mktemp("server"))
    yield shared
    shared.kill()


@pytest.fixture
def own_server(tmp_path):
    """A server of this test alone."""
    own = Server(tmp_path / "server")
    yield own
    own.kill()


@pytest.fixture
def job(request):
    """A job's name that no other test has."""
    return f"test/{request.node.name.split('[')[0][:50]}-{next(_numbers)}"


@pytest.fixture(autouse=True)
def closed_in_the_end():
    """Schedulers that a failed test left open must not hold up the end of the process."""
    yield
    for scheduler in list(lrs.lifetime.living):
        scheduler.close(0)


@pytest.fixture
def free_port():
    """A port of this machine that nobody listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
