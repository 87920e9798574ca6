"""Metrics that are logged between two steps: all of them count, and none of them stops the training."""

import logging

import pytest

import lrs
from lrs.figures import Figures


@pytest.fixture
def figures():
    return Figures()


def names(figures):
    return [name for name, _ in figures.take()]


def test_what_is_logged_twice_is_kept_twice_and_in_order(figures):
    figures.log({"val_loss": 3.0, "acc": 0.5})
    figures.log({"val_loss": 2.0})
    assert figures.take({"val_loss": 1.0}) == [("val_loss", 3.0), ("acc", 0.5), ("val_loss", 2.0), ("val_loss", 1.0)]
    assert figures.take() == []


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("val loss", "val_loss"),
        ("a\tb\nc\u00a0d", "a_b_c_d"),
        ("x" * 101, "x" * 100),
        ("", "_"),
        ("loss", "loss_"),
        ("learning_rate", "learning_rate_"),
        ("größe/3 %", "größe/3_%"),
        (7, "7"),
    ],
)
def test_a_name_is_made_to_fit_and_that_is_said_once(figures, caplog, written, name):
    for _ in range(3):
        figures.log({written: 1.0})
    assert names(figures) == [name] * 3
    said = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert repr(name) in said[0].getMessage()
    assert figures.left_out == 0


def test_names_beyond_the_limit_are_left_out_counted_and_said_once(figures, caplog):
    for _ in range(2):
        figures.log({f"m{index}": 1.0 for index in range(70)})
    assert len(set(names(figures))) == 63
    assert figures.left_out == 14
    assert [record.getMessage() for record in caplog.records if "'m63'" in record.getMessage()]
    assert len(caplog.records) == 1


def test_values_beyond_the_limit_of_a_step_are_left_out(figures, caplog):
    for value in range(70):
        figures.log({"acc": value})
    assert [value for _, value in figures.take()] == list(range(64))
    assert figures.left_out == 6
    assert len(caplog.records) == 1


@pytest.mark.parametrize("value", ["0.5", None, object(), [0.5], 1j])
def test_what_is_no_number_is_left_out_and_the_rest_is_kept(figures, caplog, value):
    figures.log({"before": 1.0, "wrong": value, "after": 2.0})
    figures.log({"wrong": value})
    assert names(figures) == ["before", "after"]
    assert figures.left_out == 2
    assert len(caplog.records) == 1


def test_two_evaluations_between_two_steps_reach_the_controller_and_the_record(server, job):
    plateau = [{"reduce_lr_on_plateau": {"metric": "val_loss", "patience": 0, "factor": 0.5}}]
    with lrs.Scheduler(
        job, server=server.url, groups=1.0, total_steps=100, controllers=plateau, deadline=10
    ) as scheduler:
        scheduler.log(val_loss=1.0)
        scheduler.step(0.5)
        scheduler.log(**{"val_loss": 3.0, "top 5": 0.1})
        scheduler.log(val_loss=2.0)
        scheduler.step(0.5)
        assert scheduler.learning_rate == 0.25
        assert scheduler.metrics_left_out == 0
    answer = server.telemetry(job)
    assert answer["val_loss"] == [(0, 1.0), (1, 3.0), (1, 2.0)]
    assert answer["top_5"] == [(1, 0.1)]


def test_a_name_that_the_job_waits_for_finds_a_place_after_many_others(server, job, caplog):
    plateau = [{"reduce_lr_on_plateau": {"metric": "val_acc", "mode": "max", "patience": 0, "factor": 0.5}}]
    spec = {"objective": {"metric": "f1"}, "controllers": plateau, "total_steps": 100}
    lrs.Scheduler(job, server=server.url, groups=1.0, spec=spec).close()
    with lrs.Scheduler(job, server=server.url, deadline=10) as scheduler:
        scheduler.log(**{f"m{index}": 1.0 for index in range(70)})
        scheduler.step(0.5)
        for value in (3.0, 2.0):
            scheduler.step(0.5, metrics={"val_acc": value, "f1": 0.5})
        assert scheduler.learning_rate == 0.5
        assert scheduler.metrics_left_out == 9
    assert len(server.telemetry(job).keys() - {"loss", "learning_rate"}) == 63
    assert sum("left out" in record.getMessage() for record in caplog.records) == 1


def test_the_limit_holds_for_names_that_the_job_waits_for_too():
    figures = Figures(lambda: {"a", "b"})
    figures.log({f"m{index}": 1.0 for index in range(62)} | {"b": 1.0, "a": 1.0, "late": 1.0})
    assert len(set(names(figures))) == 63
    assert figures.left_out == 2


def test_a_dictionary_of_metrics_is_taken_as_keywords_are(server, job):
    with lrs.Scheduler(job, server=server.url, groups=1.0, total_steps=2, deadline=10) as scheduler:
        scheduler.log({"val/loss": 0.25}, {7: 1.0}, acc=0.5)
        scheduler.step(0.5)
        for wrong in (("val_loss", 0.3), (0.3,), ([("val_loss", 0.3)],), (None,)):
            with pytest.raises(lrs.UsageError, match="metrics must map names to numbers"):
                scheduler.log(*wrong)
        scheduler.step(0.5)
    record = server.telemetry(job)
    assert {name: record[name] for name in ("val/loss", "7", "acc")} == {
        "val/loss": [(0, 0.25)],
        "7": [(0, 1.0)],
        "acc": [(0, 0.5)],
    }


@pytest.mark.parametrize("names", [("val loss", "val_loss", "val\tloss"), ("val_loss", "val loss"), ("loss_", "loss")])
def test_names_that_become_one_are_told_once(figures, caplog, names):
    for _ in range(3):
        figures.log(dict.fromkeys(names, 1.0))
    said = [record.getMessage() for record in caplog.records if "one series" in record.getMessage()]
    assert len(said) == 1
    assert f"{names[0]!r} and {names[1]!r} are both reported as" in said[0]
