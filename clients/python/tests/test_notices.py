"""What the trainer's log says once: warnings, metrics that controllers miss, and thresholds that were reached."""

from __future__ import annotations

import re

import pytest

import lrs
import lrs.environment
from server import wait_for
from test_scheduler import make


def said(caplog, text):
    return [record.message for record in caplog.records if text in record.message]


def test_what_is_probably_wrong_is_logged_when_the_job_is_registered(server, job, caplog):
    warm_up = {"schedule": {"warmup": {"warmup_steps": 500}}, "total_steps": 100}
    with make(server, job, controllers=[{"keras_plateau": {"metric": "val_accuracy"}}], **warm_up) as scheduler:
        scheduler.step(1.0)
    assert len(said(caplog, "controllers[0] (keras_plateau) takes lower values of val_accuracy for better")) == 1
    assert len(said(caplog, "its warm-up may be longer than the training.")) == 1


def test_a_metric_that_never_comes_is_logged_once(server, job, caplog):
    plateau = {"reduce_lr_on_plateau": {"metric": "val_lost", "patience": 3}}
    with make(server, job, total_steps=4000, controllers=[plateau]) as scheduler:
        for step in range(300):
            scheduler.step(1.0)
            if step % 20 == 19:
                scheduler.log(val_loss=1.0)
        wait_for("the notice", lambda: scheduler.step(1.0) and said(caplog, "val_lost has not been reported yet"))
        for _ in range(50):
            scheduler.step(1.0)
    (line,) = said(caplog, "val_lost")
    assert "0/reduce_lr_on_plateau: val_lost has not been reported yet, but val_loss has (is that meant?)" in line


def test_a_target_that_is_reached_is_logged_once_and_can_stop_the_training(server, job, caplog):
    objective = {"metric": "val_loss", "target": 0.5, "on_target": "stop"}
    notice = {"threshold": {"metric": "grad_norm", "above": 50}}
    with make(server, job, total_steps=40_000, controllers=[notice], spec={"objective": objective}) as scheduler:
        for step in range(40):
            scheduler.step(1.0, grad_norm=2.0 * step)
        scheduler.log(val_loss=0.25)
        wait_for("the advice", lambda: scheduler.step(1.0, grad_norm=90.0) and scheduler.stop_advice)
        assert scheduler.stop_advice == "val_loss is 0.25 at step 40, at or below 0.5: training can stop"
        wait_for("the notice", lambda: scheduler.step(1.0) and said(caplog, "1/objective: val_loss is 0.25"))
        for _ in range(20):
            scheduler.step(1.0, grad_norm=99.0)
    assert len(said(caplog, "0/threshold: grad_norm is 50 at step 25, at or above 50")) == 1
    assert len(said(caplog, "1/objective")) == 1


def test_a_threshold_cools_down_and_what_is_wrong_with_it_is_refused(server, job):
    cooldown = {"threshold": {"metric": "loss", "below": 0.5, "action": "cooldown", "cooldown_steps": "5%"}}
    with make(server, job, total_steps=400, controllers=[cooldown]) as scheduler:
        rates = []
        for step in range(40):
            rates += scheduler.directive.rates
            scheduler.step(1.0 if step < 9 else 0.4)
        # The loss of step 9 counts from step 10 on, and 20 steps later the rate is 0.
        assert rates[10] == pytest.approx(0.1)
        assert rates[15] == pytest.approx(0.05)
        assert rates[30] == 0.0
        assert scheduler.stop_advice.startswith("the cooldown on loss is over")
    for wrong, names in (
        ({"metric": "loss", "below": 1, "action": "cut", "factor": 2}, "factor: 2 is not allowed"),
        ({"metric": "loss", "action": "stop"}, "needs a condition"),
        ({"below": 1}, "metric: is required"),
        ({"metric": "loss", "below": 1, "action": "cooldown", "cooldown_steps": 500}, "at most total_steps, 400"),
        ({"metric": "loss", "below": 1, "action": "explode"}, "action"),
    ):
        with pytest.raises((lrs.RefusedError, lrs.UsageError), match=re.escape(names)):
            make(server, f"{job}-wrong", total_steps=400, controllers=[{"threshold": wrong}])


def test_a_variable_of_the_environment_that_nobody_reads_is_logged_once(server, job, caplog, monkeypatch):
    monkeypatch.setattr(lrs.environment, "_told", set())
    for name in ("LRS_SEVER", "LRS_STORE_TIMEOUT", "LRS_PORT_50051_TCP_ADDR", "LRS_SERVICE_HOST", "LRS_CHAOS_SEED"):
        monkeypatch.setenv(name, "1")
    for _ in range(2):
        make(server, job, total_steps=10).close()
    assert [record.message for record in caplog.records] == [
        "The environment variable LRS_SEVER is not known and changes nothing: did you mean LRS_SERVER?"
    ]


def test_the_client_knows_the_variables_of_all_options(server):
    pages = [server.run("serve", "--help"), server.run("job", "list", "--help")]
    found = {name for page in pages for name in re.findall(r"\[env:\s+(LRS_\w+)", page.stdout)}
    assert found == lrs.environment.KNOWN
