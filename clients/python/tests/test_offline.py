"""Trainings without a server, and the hand-over of their files."""

import logging
import math
import re
import signal
import subprocess
import sys

import pytest
import torch

import lrs
import lrs.torch
from lrs.offline_file import SUFFIX, read
from lrs.upload import main, upload
from lrs.v1.job_pb2 import Job
from processes import run
from server import wait_for


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of `LRS_OFFLINE`, with an address at which there is no server."""
    monkeypatch.setenv("LRS_OFFLINE", str(tmp_path / "runs"))
    monkeypatch.setenv("LRS_SERVER", "http://127.0.0.1:9")
    return tmp_path / "runs"


def files(folder):
    return sorted(folder.glob(f"*{SUFFIX}"))


def handed_over(folder, server, monkeypatch, capsys):
    """What the command says of each file, in its words after the file's name."""
    with monkeypatch.context() as online:
        online.delenv("LRS_OFFLINE")
        assert main([str(folder), "--server", server.url]) == 0, capsys.readouterr().err
    return [line.partition(": ")[2] for line in capsys.readouterr().out.splitlines()]


def test_a_run_is_recorded_and_handed_over_once_however_often(folder, server, job, monkeypatch, capsys, caplog):
    with lrs.init(job) as training:
        optimizer = torch.optim.SGD(torch.nn.Linear(2, 1).parameters(), lr=0.25)
        scheduler = lrs.torch.LRScheduler(
            optimizer, training.job, server=training.server, schedule="cosine", controller="auto", total_steps=100
        )
        for step in range(40):
            loss = torch.tensor(math.nan if step == 7 else 1.0 / (1.0 + step))
            scheduler.step(loss)
            assert optimizer.param_groups[0]["lr"] == 0.25
            assert training.postfix() == {"lr": "0.25", "phase": "offline"}
        scheduler.log(val_loss=0.5)
    told = [record.getMessage() for record in caplog.records]
    (file,) = files(folder)
    assert str(file) in " ".join(told)
    assert not [text for text in told if "directive" in text or "answer" in text], "nobody waits for a server"
    first = handed_over(folder, server, monkeypatch, capsys)
    assert first == [f"attempt 1 of {job}, 41 steps new, 0 known"]
    found, record = server.job(job), server.record(job)
    assert (found.state, found.spec.total_steps) == (Job.STATE_COMPLETED, 100)
    assert sorted(record["loss"]) == list(range(40))
    assert math.isnan(record["loss"][7])
    assert record["loss"][39] == pytest.approx(1.0 / 40.0)
    assert set(record["learning_rate"].values()) == {0.25}
    assert set(record["lrs_fallback"].values()) == {2.0}
    assert list(record["val_loss"].values()) == [0.5]
    assert handed_over(folder, server, monkeypatch, capsys) == [f"attempt 1 of {job}, 0 steps new, 41 known"]
    assert repr(server.record(job)) == repr(record), "NaN is not equal to itself"


def test_attempts_of_a_job_are_handed_over_in_their_order_and_again(folder, server, job, monkeypatch, capsys):
    groups = {"body": 0.1, "head": 0.2}
    with lrs.Scheduler(job, groups=groups, total_steps=30, tier=1) as scheduler:
        for _ in range(12):
            scheduler.step(1.0)
        checkpoint = scheduler.state_dict()
        for _ in range(3):
            scheduler.step(2.0)
    with lrs.Scheduler(job, groups=groups, total_steps=30, tier=1) as scheduler:
        scheduler.load_state_dict(checkpoint)
        for _ in range(18):
            scheduler.step(3.0)
    expected = [f"attempt 1 of {job}, 15 steps new, 0 known", f"attempt 2 of {job}, 18 steps new, 0 known"]
    assert handed_over(folder, server, monkeypatch, capsys) == expected
    assert server.job(job).state == Job.STATE_COMPLETED
    history = server.record(job)["loss"]
    assert history == {step: 1.0 if step < 12 else 3.0 for step in range(30)}
    handed_over(folder, server, monkeypatch, capsys)
    assert server.record(job)["loss"] == history
    assert len(server.attempts(job)) == 2


def test_a_hand_over_that_broke_off_is_taken_up_again(folder, server, job, monkeypatch, capsys):
    with lrs.Scheduler(job, groups=0.1, total_steps=3000, options=lrs.Options(flush_interval=0.01)) as scheduler:
        for _ in range(2500):
            scheduler.step(1.0)
    (file,) = files(folder)
    whole = file.read_bytes()
    # The service has got the first messages, and the last of them in part.
    file.write_bytes(whole[: len(whole) // 2])
    (first,) = handed_over(folder, server, monkeypatch, capsys)
    assert first.endswith("and its last line is incomplete")
    known = len(server.record(job)["loss"])
    assert 0 < known < 2500
    file.write_bytes(whole)
    (second,) = handed_over(folder, server, monkeypatch, capsys)
    assert second == f"attempt 1 of {job}, {2500 - known} steps new, {known} known"
    assert len(server.record(job)["loss"]) == 2500
    assert server.job(job).state == Job.STATE_RUNNING


KILLED = """
import itertools, sys, lrs
scheduler = lrs.Scheduler(sys.argv[1], groups=0.1, total_steps=100, options=lrs.Options(flush_interval=0.01))
for step in itertools.count():
    scheduler.step(1.0) if step < 20 else sys.stdin.readline()
"""


def test_a_killed_run_keeps_what_was_written_and_a_cut_line_is_left_out(
    folder, server, job, monkeypatch, capsys, tmp_path
):
    killed = subprocess.Popen([sys.executable, "-c", KILLED, job], stdin=subprocess.PIPE)

    def is_written():
        return files(folder) and sum(len(message.step) for message in read(files(folder)[0]).messages) == 20

    try:
        wait_for("20 steps in the file", is_written)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        killed.stdin.close()
    (file,) = files(folder)
    with file.open("ab") as damaged:
        damaged.write(b'{"telemetry":{"step":["20"')
    assert handed_over(folder, server, monkeypatch, capsys) == [
        f"attempt 1 of {job}, 20 steps new, 0 known, and its last line is incomplete"
    ]
    assert server.job(job).state == Job.STATE_RUNNING


def test_a_damaged_file_is_named_with_its_line_and_the_others_are_taken(folder, server, job, capsys, monkeypatch):
    for name in ("good", "bad"):
        with lrs.Scheduler(f"{job}-{name}", groups=0.1, total_steps=10) as scheduler:
            for _ in range(3):
                scheduler.step(1.0)
    bad = next(file for file in files(folder) if "-bad-" in file.name)
    lines = bad.read_bytes().split(b"\n")
    bad.write_bytes(b"\n".join([lines[0], lines[1][:-20], *lines[1:]]))
    monkeypatch.delenv("LRS_OFFLINE")
    with pytest.raises(lrs.UsageError, match=re.escape(f"{bad}:2 is damaged")):
        upload(bad, server=server.url)
    (folder / f"other{SUFFIX}").write_text('{"loss": 1}\n')
    assert main([str(folder / f"other{SUFFIX}"), "--server", server.url]) == 1
    assert "is no file of a training without a server" in capsys.readouterr().err
    (folder / f"other{SUFFIX}").unlink()
    assert main([str(folder), "--server", server.url]) == 1
    said = capsys.readouterr()
    assert f"{job}-good, 3 steps new" in said.out
    assert f"{bad}:2 is damaged" in said.err


def test_the_file_is_bounded_and_the_log_says_so_once(folder, server, job, monkeypatch, capsys, caplog):
    options = lrs.Options(max_spill_bytes=60_000, flush_interval=0.01)
    with lrs.Scheduler(job, groups=0.1, total_steps=5000, options=options) as scheduler:
        for _ in range(4000):
            scheduler.step(0.123456789)
    (file,) = files(folder)
    assert file.stat().st_size <= 60_000
    assert len([entry for entry in caplog.records if "reached its bound" in entry.getMessage()]) == 1
    (said,) = handed_over(folder, server, monkeypatch, capsys)
    stored = sorted(server.record(job)["loss"])
    assert stored == list(range(len(stored))), "no gap"
    assert 500 < len(stored) < 4000
    assert said == f"attempt 1 of {job}, {len(stored)} steps new, 0 known"


def test_what_needs_a_server_is_refused(folder, job, monkeypatch):
    for option in ("strict", "require_server"):
        with pytest.raises(lrs.UsageError, match=f"{option} needs a server"):
            lrs.Scheduler(job, groups=0.1, total_steps=10, **{option: True})
    with pytest.raises(lrs.UnreachableError, match="give `groups`"):
        lrs.Scheduler(job)
    (folder / "file").write_text("")
    monkeypatch.setenv("LRS_OFFLINE", str(folder / "file"))
    with pytest.raises(lrs.UsageError, match="must be a folder"):
        lrs.init(job)


def test_an_unreachable_server_is_an_error_of_the_hand_over(folder, job, capsys):
    with lrs.Scheduler(job, groups=0.1, total_steps=10) as scheduler:
        scheduler.step(1.0)
    assert main([str(folder)]) == 1
    assert "http://127.0.0.1:9" in capsys.readouterr().err


def test_a_full_disk_ends_the_record_and_not_the_training(folder, job, monkeypatch, caplog):
    def no_room(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lrs.offline_file.OfflineFile.add", no_room)
    with caplog.at_level(logging.WARNING), lrs.Scheduler(job, groups=0.1, total_steps=100) as scheduler:
        for _ in range(10):
            assert scheduler.step(1.0).rates == (0.1,)
        wait_for("the refusal", lambda: scheduler.refusal is not None)
        assert scheduler.step(1.0).rates == (0.1,)
    assert "No space left" in caplog.text


def test_a_step_without_a_server_costs_nothing_like_a_deadline(folder, job):
    run(
        "import sys, time, lrs\n"
        "scheduler = lrs.Scheduler(sys.argv[1], groups=0.1, total_steps=10_000, deadline=30)\n"
        "for _ in range(5000): scheduler.step(1.0)\n"
        "scheduler.close()\n",
        job,
        timeout=60.0,
    )
    (file,) = files(folder)
    assert sum(len(message.step) for message in read(file).messages) == 5000


def test_a_second_fit_of_a_callback_goes_on_without_a_server(folder, job):
    import keras
    import numpy as np

    from lrs.keras import LrsCallback

    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x, y = np.zeros((8, 2)), np.zeros((8, 1))
    callback = LrsCallback(job)
    model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[callback])
    model.fit(x, y, batch_size=4, epochs=3, initial_epoch=2, verbose=0, callbacks=[callback])
    steps = [step for file in files(folder) for message in read(file).messages for step in message.step]
    assert sorted(set(steps)) == list(range(6))
