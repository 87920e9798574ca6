"""`lrs.init`: it finds a server or starts one, and the job ends as the run ended."""

import json
import os
import socket

import pytest
import torch

import lrs
import lrs.torch
from lrs.v1.job_pb2 import Job
from processes import run_command
from server import binary

TRAIN = """
import logging, sys, lrs
with lrs.init(*sys.argv[1:2]) as run:
    scheduler = run.scheduler(groups=0.1, total_steps=100, deadline=20)
    for _ in range(5):
        scheduler.step(1.0)
    print(run.server, run.page, scheduler.fallback_steps.count)
    if sys.argv[2:] == ["fails"]:
        raise MemoryError("too large")
"""


def test_a_run_completes_its_job(server, job):
    with lrs.init(job, server=server.url) as training:
        optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1)
        scheduler = lrs.torch.LRScheduler(
            optimizer, training.job, server=training.server, total_steps=100, deadline=20.0
        )
        for _ in range(3):
            scheduler.step(1.0)
    assert server.job(job).state == Job.STATE_COMPLETED
    assert sorted(server.record(job)["loss"]) == [0, 1, 2]
    training.finish("FAILED")
    assert server.job(job).state == Job.STATE_COMPLETED


@pytest.mark.parametrize(
    ("problem", "state", "reason"),
    [
        (ValueError("a NaN"), Job.STATE_FAILED, "ValueError: a NaN"),
        (KeyboardInterrupt(), Job.STATE_CANCELLED, "interrupted"),
    ],
)
def test_an_exception_ends_the_job_with_its_reason(server, job, problem, state, reason):
    def train():
        with lrs.init(job, server=server.url) as training:
            scheduler = training.scheduler(groups=0.1, total_steps=10, deadline=20.0)
            scheduler.step(1.0)
            raise problem

    with pytest.raises(type(problem)):
        train()
    found = server.job(job)
    assert (found.state, found.state_reason) == (state, reason)


def test_without_a_server_a_private_one_is_started_and_ends_with_the_process(tmp_path):
    if not_free("127.0.0.1", 50051):
        pytest.skip("a server listens at the default address")
    environment = {"LRS_SERVER": "", "LRS_BINARY": binary(), "XDG_DATA_HOME": str(tmp_path)}
    first = run_command(python(TRAIN, "a/b"), **environment)
    address, page, missed = first.stdout.split()
    assert missed == "0"
    assert page.endswith("/jobs/a/b")
    assert f"Follow a/b at {page}" in first.stderr
    assert not_free(*address.removeprefix("http://").split(":")) is False, "the server has ended"
    second = run_command(python(TRAIN, "a/c"), **environment)
    database = tmp_path / "lrs" / "private.db"
    assert str(database) in second.stderr
    listed = run_command([*python(LIST), str(database), binary()]).stdout
    assert listed.split() == ["a/b", "a/c"], "both runs are in one database"


LIST = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database:
    for (name,) in database.execute("select name from jobs order by name"):
        print(name.removeprefix("namespaces/").replace("/jobs/", "/"))
"""


def test_the_page_is_there_while_the_run_trains(tmp_path, monkeypatch):
    if not_free("127.0.0.1", 50051):
        pytest.skip("a server listens at the default address")
    program = TRAIN.replace(
        "    print(run.server",
        "    import urllib.request\n    assert urllib.request.urlopen(run.page).status == 200\n    print(run.server",
    )
    run_command(
        python(program, "a/b"), LRS_SERVER="", LRS_BINARY=binary(), XDG_DATA_HOME=str(tmp_path), no_proxy="127.0.0.1"
    )


def test_the_first_line_links_the_page_of_a_server_with_the_usual_ports(server, job, monkeypatch, caplog):
    ready = json.loads((server.directory / "ready-1.json").read_text())
    ports = [int(ready[name].rpartition(":")[2]) for name in ("grpc", "http")]
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # not for a link that is only looked at
    with monkeypatch.context() as usual:
        usual.setattr("lrs.private_server._USUAL_PORTS", ports)
        training = lrs.init(job, server=server.url)
    assert training.page == f"http://{ready['http']}/jobs/{job}"
    assert training.page in caplog.records[0].getMessage()
    # Another program at the pages' port, or none, is not linked.
    with monkeypatch.context() as other:
        other.setattr("lrs.private_server._USUAL_PORTS", [ports[0], ports[0]])
        assert lrs.init(job, server=server.url).page == ""
    assert lrs.init(job, server=server.url).page == ""


def test_without_the_program_the_error_says_what_to_do(tmp_path, monkeypatch):
    if not_free("127.0.0.1", 50051):
        pytest.skip("a server listens at the default address")
    for name, value in {"LRS_SERVER": "", "LRS_BINARY": "", "PATH": "", "XDG_DATA_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(lrs.UnreachableError, match="pip install lrs-server"):
        lrs.init("a/b")


@pytest.mark.parametrize(
    ("packages", "recorded", "programs"),
    [
        ("lib/python3.11/site-packages", "../../../bin/lrs", "bin"),  # an environment, and `pip install --user`
        ("target", "../../bin/lrs", "target/bin"),  # `pip install --target`
    ],
)
def test_a_private_server_is_that_of_the_package_in_this_environment(tmp_path, packages, recorded, programs):
    if not_free("127.0.0.1", 50051):
        pytest.skip("a server listens at the default address")
    package = tmp_path / packages / "lrs_server-9.9.9.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.4\nName: lrs-server\nVersion: 9.9.9\n")
    (package / "RECORD").write_text(f"{recorded},,\nlrs_server-9.9.9.dist-info/METADATA,,\n")
    told = tmp_path / "told"
    # The program of the package tells that it was started, and another `lrs` on the PATH would not.
    write_program(tmp_path / programs / "lrs", f'echo "$@" >{told}; exec {binary()} "$@"')
    write_program(tmp_path / "elsewhere" / "lrs", "exit 7")
    environment = {
        "LRS_SERVER": "",
        "LRS_BINARY": "",
        "PATH": f"{tmp_path / 'elsewhere'}:/usr/bin:/bin",
        "PYTHONPATH": ":".join([str(tmp_path / packages), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "XDG_DATA_HOME": str(tmp_path / "data"),
    }
    trained = run_command(python(TRAIN, "a/b"), **environment)
    assert trained.stdout.split()[-1] == "0"
    assert told.read_text().startswith("serve ")


def write_program(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_several_processes_need_a_server_that_they_share(monkeypatch):
    for name, value in {"LRS_SERVER": "", "SLURM_JOB_ID": "7", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(lrs.UsageError, match="start one server"):
        lrs.init("a/b")


def test_a_run_without_a_name_gets_one(server):
    names = {lrs.init(server=server.url).job for _ in range(3)}
    assert len(names) == 3
    assert all("/jobs/run-" in name for name in names)


def not_free(host, port):
    with socket.socket() as prober:
        prober.settimeout(1.0)
        return prober.connect_ex((host, int(port))) == 0


def python(program, *arguments):
    import sys

    return [sys.executable, "-c", program, *arguments]


def test_an_evaluation_after_the_last_trained_step_is_on_record(server, job):
    with lrs.init(job, server=server.url) as training:
        scheduler = training.scheduler(groups=0.1, total_steps=100, deadline=20.0)
        for _ in range(3):
            scheduler.step(1.0)
        scheduler.log(val_loss=0.5)
    assert list(server.record(job)["val_loss"].values()) == [0.5]
