"""Habits of other schedulers, and calls that were forgotten: each gets one warning that names the line to change."""

import logging

import pytest
import torch

import lrs
import lrs.torch
from lrs.contract import SKIPPED_METRIC
from lrs.update_ratio import UPDATE_RATIO

PATIENT = {"deadline": 20.0, "close_timeout": 20.0}


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(4))], lr=0.1)


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, "lrs")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "lrs"]


FIRST = {"groups": 0.1, "total_steps": 100, "schedule": {"cosine": {}}, "controller": "auto"}


def make(server, job, optimizer, **options):
    return lrs.torch.LRScheduler(optimizer, job, server=server.url, **(PATIENT | {"total_steps": 1000} | options))


def update(optimizer):
    optimizer.zero_grad()
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_a_loop_that_is_right_gets_no_warning(server, job, optimizer, warnings):
    with make(server, job, optimizer, tier=1) as scheduler:
        for step in range(250):
            scheduler.guard()
            update(optimizer)
            scheduler.step(1.0 / (1 + step))
    assert warnings() == []


@pytest.mark.parametrize("loss", [lambda k: 1e-15 * k, lambda k: 2.0 - k / 100, lambda k: 0.5])
def test_losses_that_only_look_regular_get_no_warning(server, job, optimizer, warnings, loss):
    with make(server, job, optimizer) as scheduler:
        for k in range(30):
            update(optimizer)
            scheduler.step(loss(k))
    assert warnings() == []


@pytest.mark.parametrize("number", [lambda k: k, lambda k: float(k), lambda k: 3 + k / 7])
def test_epochs_in_place_of_losses(server, job, optimizer, warnings, number):
    with make(server, job, optimizer) as scheduler:
        for k in range(30):
            update(optimizer)
            scheduler.step(number(k))
    (text,) = warnings()
    assert "look like epochs" in text
    assert "scheduler.step(loss)` at test_habits.py:" in text


def test_a_forgotten_guard(server, job, optimizer, warnings):
    with make(server, job, optimizer, tier=1) as scheduler:
        for _ in range(10):
            update(optimizer)
            scheduler.step(1.0)
    (text,) = warnings()
    assert "if scheduler.guard(loss): optimizer.step()` above test_habits.py:" in text


def test_two_steps_for_an_update(server, job, optimizer, warnings):
    with make(server, job, optimizer) as scheduler:
        for _ in range(10):
            update(optimizer)
            scheduler.step(1.0)
            scheduler.step(1.0)
    (text,) = warnings()
    assert "called twice" in text
    assert "test_habits.py:" in text


def test_a_step_for_many_updates(server, job, optimizer, warnings):
    with make(server, job, optimizer) as scheduler:
        for _ in range(3):
            for _ in range(5):
                update(optimizer)
            scheduler.step(1.0)
    (text,) = warnings()
    assert "called 5 times for a call of scheduler.step()" in text


def test_no_step_at_all(server, job, optimizer, warnings):
    with make(server, job, optimizer):
        for _ in range(150):
            update(optimizer)
    (text,) = warnings()
    assert "100 times without a call of scheduler.step()" in text


@pytest.mark.parametrize("first", [True, False])
def test_a_scheduler_of_pytorch_on_the_same_optimizer(server, job, optimizer, warnings, first):
    if first:
        torch.optim.lr_scheduler.StepLR(optimizer, 3)
    with make(server, job, optimizer) as scheduler:
        if not first:
            torch.optim.lr_scheduler.StepLR(optimizer, 3)
        update(optimizer)
        scheduler.step(1.0)
    (text,) = warnings()
    assert "Another learning-rate scheduler of PyTorch" in text


def test_two_schedulers_on_one_optimizer(server, job, optimizer, warnings):
    first = make(server, job, optimizer)
    update(optimizer)
    first.step(1.0)
    with make(server, job + "-other", optimizer) as second:
        update(optimizer)
        second.step(1.0)
    (text,) = warnings()
    assert "-other takes over the optimizer of namespaces/" in text
    assert len(server.record(job)["loss"]) == 1
    assert len(server.record(job + "-other")["loss"]) == 1


def test_a_scaler_that_skips_is_no_second_step(server, job, optimizer, warnings):
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    parameter = optimizer.param_groups[0]["params"][0]
    with make(server, job, optimizer) as scheduler:
        for k in range(20):
            optimizer.zero_grad()
            loss = parameter.sum() * (float("inf") if k in (4, 5, 11) else 1.0)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            scheduler.step(1.0)
    assert warnings() == []
    assert server.record(job)[SKIPPED_METRIC] == {4: 3.0, 5: 3.0, 11: 3.0}


def test_the_ratio_of_update_and_weights_is_measured_now_and_then(server, job, optimizer):
    with make(server, job, optimizer) as scheduler:
        for _ in range(205):
            update(optimizer)
            scheduler.step(1.0)
    ratios = server.record(job)[UPDATE_RATIO]
    assert list(ratios) == [100, 200]
    # A weight moves by 0.1 at each update.
    assert ratios[100] == pytest.approx(0.1 / abs(1 - 0.1 * 100), rel=1e-3)


class TestDifferences:
    """The same job's name with other settings."""

    @pytest.fixture
    def registered(self, server, job):
        lrs.Scheduler(job, server=server.url, **FIRST).close()

    @pytest.mark.parametrize(
        ("asked", "told"),
        [
            ({"groups": 0.2}, "the base rates {'default': 0.1}, which hold; this trainer asked for {'default': 0.2}"),
            (
                {"schedule": {"linear": {}}},
                "schedule = {'cosine': {}}, which holds; this trainer asked for {'linear': {}}",
            ),
            (
                {"controller": None},
                "controllers = [{'auto': {'revision': '1'}}], which holds; this trainer asked for none",
            ),
            ({"total_steps": 90}, "total_steps = 100, which holds; this trainer asked for 90"),
            ({"decision_lag": 4}, "decision_lag = 1, which holds; this trainer asked for 4"),
            ({"seed": 5}, "seed = none, which holds; this trainer asked for 5"),
        ],
    )
    def test_each_is_said_and_refused_with_strict(self, server, job, registered, warnings, asked, told):
        lrs.Scheduler(job, server=server.url, **(FIRST | asked)).close()
        (text,) = warnings()
        assert told in text
        assert "lrs job update" in text
        assert "lrs job fork" in text
        with pytest.raises(lrs.UsageError, match="is registered with") as refused:
            lrs.Scheduler(job, server=server.url, strict=True, **(FIRST | asked))
        assert told in str(refused.value)

    def test_what_is_not_asked_for_is_no_difference(self, server, job, registered, warnings):
        for asked in ({}, {"groups": 0.1}, {"groups": 0.1, "total_steps": 100}, FIRST):
            lrs.Scheduler(job, server=server.url, strict=True, **asked).close()
        assert warnings() == []

    def test_an_order_of_a_person_is_no_difference(self, server, job, registered, warnings):
        server.run("job", "update", job, "--set", "spec.schedule={linear: {}}")
        lrs.Scheduler(job, server=server.url, strict=True, **FIRST).close()
        assert warnings() == []

    def test_the_rate_of_the_optimizer_is_asked_for(self, server, job, optimizer, warnings):
        make(server, job, optimizer).close()
        other = torch.optim.SGD([torch.nn.Parameter(torch.ones(4))], lr=0.3)
        make(server, job, other).close()
        (text,) = warnings()
        assert "0.3" in text
