"""An attempt's token: shared by the processes of a start, and another after every restart, whatever the launcher."""

import json
import re
import subprocess
import sys

import pytest

import lrs
import lrs.attempt
from lrs.launch import Launch, launch
from processes import run, run_command

#: A rank that trains three steps from a step on, and prints its attempt. It meets the others as `sys.argv[1]` says.
RANK = """
import json, os, sys
import lrs
how, rank, world, job, server, step, *more = sys.argv[1:]
if how == "elastic":
    rank = os.environ["RANK"]
if how == "group":
    import torch.distributed
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{more[0]}", rank=int(rank), world_size=int(world)
    )
if how == "jax":
    import jax
    jax.distributed.initialize(f"127.0.0.1:{more[0]}", int(world), int(rank))
scheduler = lrs.Scheduler(
    job, server=server, groups=0.1, total_steps=100, deadline=20.0, start_timeout=60.0, spec={"reporting_ranks": int(world)},
    options=lrs.Options(rank=int(rank), flush_interval=0.01),
)
if int(step):
    state = {"version": 1, "job": scheduler.job, "attempt": 0, "step": int(step), "rates": [0.1]}
    scheduler.load_state_dict(state)
for _ in range(3):
    scheduler.step(1.0)
print("RANK", json.dumps([int(rank), scheduler.attempt, scheduler.attempt_token, scheduler.fallback_steps.count]), flush=True)
scheduler.close()
if more == ["fails once"] and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    sys.exit(1)
"""

SLURM = {"SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_RESTART_COUNT": "0"}


def ranks(output):
    """The printed attempts: rank, attempt, token, steps without a directive."""
    return sorted(json.loads(line) for line in re.findall(r"RANK (\[.*?\])", output))


def start(how, world, *arguments, environment=None):
    """Start a process for each rank together, and return what they print."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, how, str(rank), str(world), *arguments],
            env=dict(environment(rank) if environment else {}, **inherited()),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * world, outputs
    return ranks("".join(outputs))


def inherited():
    """The environment of the tests, without a launcher's variables."""
    import os

    prefixes = ("SLURM", "OMPI", "PMI", "TORCHELASTIC", "WORLD_SIZE", "RANK")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def check_one_attempt(told, attempt, world):
    assert [rank for rank, *_ in told] == list(range(world))
    assert {number for _, number, *_ in told} == {attempt}
    assert len({token for _, _, token, _ in told}) == 1
    assert {missed for *_, missed in told} == {0}, "every step had its directive"


@pytest.mark.parametrize("world", [1, 2, 3])
def test_a_restart_inside_one_allocation_resumes_in_an_attempt_of_its_own(server, job, world):
    def environment(rank):
        return SLURM | {"SLURM_PROCID": str(rank), "SLURM_NTASKS": str(world)}

    for attempt, step in enumerate((0, 2, 4), start=1):
        told = start("env", world, job, server.url, str(step), environment=environment)
        check_one_attempt(told, attempt, world)
    assert [attempt.resume_step for attempt in server.attempts(job)] == [0, 2, 4]
    assert sorted(server.record(job)["loss"]) == list(range(7)), "no step of an older start is mixed in"


@pytest.mark.parametrize(
    "variables",
    [
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("PMI_RANK", "PMI_SIZE"),
        ("RANK", "WORLD_SIZE"),  # Kubeflow's PyTorchJob, and Ray Train
    ],
)
def test_processes_of_any_launcher_share_an_attempt(server, job, variables):
    def environment(rank):
        return dict(zip(variables, (str(rank), "2"), strict=True))

    for attempt, step in ((1, 0), (2, 1)):
        check_one_attempt(start("env", 2, job, server.url, str(step), environment=environment), attempt, 2)


@pytest.mark.parametrize("world", [2, 3])
def test_a_process_group_needs_no_launcher(server, job, world, tmp_path):
    for attempt, step in ((1, 0), (2, 1)):
        place = str(tmp_path / f"group-{attempt}")  # PyTorch wants a new file for a new group
        check_one_attempt(start("group", world, job, server.url, str(step), place), attempt, world)


def test_a_restart_by_torchrun_and_a_second_torchrun_of_the_same_name_are_attempts_of_their_own(server, job, tmp_path):
    program = tmp_path / "rank.py"
    program.write_text(RANK)

    def torchrun(*arguments):
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "1"]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--rdzv-id", "5", str(program)]
        return ranks(run_command([*command, "elastic", "0", "2", job, server.url, *arguments], timeout=180).stdout)

    told = torchrun("0", "fails once")
    check_one_attempt([one for one in told if one[1] == 2], 2, 2)
    assert all(number in (1, 2) for _, number, *_ in told)
    assert len({token for _, _, token, _ in told}) == 2
    check_one_attempt(torchrun("2"), 3, 2)


def test_processes_of_jax_meet_at_its_coordinator(server, job):
    pytest.importorskip("jax")
    for attempt, step in ((1, 0), (2, 1)):
        check_one_attempt(start("jax", 2, job, server.url, str(step), str(free_port())), attempt, 2)


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_rank_without_a_rank_0_begins_an_attempt_of_its_own_and_says_so(server, job, monkeypatch, caplog):
    for name, value in (SLURM | {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("lrs.following._PATIENCE", 0.1)
    with lrs.Scheduler(
        job, server=server.url, groups=0.1, total_steps=10, start_timeout=20.0, deadline=20.0
    ) as scheduler:
        assert scheduler.step(1.0).standing is lrs.Standing.FINAL
        assert scheduler.attempt == 1
    assert "Rank 0 has begun no attempt" in caplog.text


def test_a_library_that_is_only_imported_connects_nothing(monkeypatch):
    for name, value in (SLURM | {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}).items():
        monkeypatch.setenv(name, value)
    pytest.importorskip("ray.train")
    assert (launch().rank, launch().world) == (1, 2)


def test_a_second_scheduler_of_a_process_begins_an_attempt_of_its_own(server, job, monkeypatch):
    for name, value in (SLURM | {"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}).items():
        monkeypatch.setenv(name, value)
    known = {"server": server.url, "groups": 0.1, "total_steps": 100, "deadline": 20.0}
    with lrs.Scheduler(job, **known) as first:
        for _ in range(5):
            first.step(1.0)
        state = first.state_dict()
    with lrs.Scheduler(job, **known) as second:
        second.load_state_dict(state)
        assert (second.attempt, second.next_step) == (2, 5)


def test_a_forked_worker_counts_its_own_schedulers(server, job):
    program = """
import os, sys, lrs, lrs.attempt
def token():
    return lrs.attempt.token_of_start("namespaces/a/jobs/b").token
os.environ.update(SLURM_JOB_ID="77", SLURM_NTASKS="2", SLURM_PROCID="0")
token()
child = os.fork()
if child == 0:
    sys.exit(0 if token().split(":")[4] == "0" else 1)
assert os.waitpid(child, 0)[1] == 0
assert token().split(":")[4] == "1"
"""
    run(program)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, Launch("process", 0, None)),
        (SLURM | {"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}, Launch("slurm:77:0:0", 3, 8)),
        (SLURM | {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"}, Launch("slurm:77:0:0", 0, 1)),
        (
            SLURM | {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "2", "RANK": "1", "WORLD_SIZE": "4"},
            Launch("torchelastic:none:2", 1, 4),
        ),
        (
            SLURM
            | {"SLURM_PROCID": "0", "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_NAMESPACE": "x@1"},
            Launch("mpi:x@1", 2, 4),
        ),
        ({"JOB_COMPLETION_INDEX": "3", "JOB_NAME": "train"}, Launch("kubernetes:train", 0, None)),
    ],
)
def test_a_launcher_is_known_by_its_variables(environment, found):
    assert launch(environment) == found


def test_a_worker_of_ray_train_knows_its_rank(monkeypatch):
    """Ray is not installed here, so this is a double of `ray.train.get_context()`."""

    class Context:
        def get_world_rank(self):
            return 2

        def get_world_size(self):
            return 4

    class Train:
        get_context = Context

    monkeypatch.setitem(sys.modules, "ray.train", Train)
    assert launch()[1:] == (2, 4)


def test_a_long_name_is_shortened_and_stays_distinct(monkeypatch):
    names = []
    for end in "ab":
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x" * 300 + end)
        names.append(lrs.attempt_token())
    assert all(len(token) <= 200 for token in names)
    assert names[0].rpartition(":")[0] != names[1].rpartition(":")[0]


def test_each_token_is_another():
    assert lrs.attempt_token() != lrs.attempt_token()
