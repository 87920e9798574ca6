"""The contract of all integrations, against each real trainer."""

import logging
import math

import pytest
import torch

import lrs.lifetime
from lrs.contract import SKIPPED_METRIC, Skipped
from server import wait_for
from trainers import TRAINERS
from training import FailureError, Run

#: Trainers that write their checkpoints into a directory.
IN_A_DIRECTORY = ("transformers", "lightning", "trl", "peft")
VARIED = [1.0, 3.0, 5.0, 7.0, 11.0]


@pytest.fixture(params=TRAINERS)
def trainer(request, tmp_path, monkeypatch):
    made = TRAINERS[request.param]()
    if request.param in IN_A_DIRECTORY:
        train = made.train
        made.train = lambda *args, **more: train(*args, **({"directory": tmp_path} | more))
    return made


def known(record, name="loss"):
    return [record[name][step] for step in sorted(record[name])]


@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_the_loss_is_the_mean_of_the_window_that_was_accumulated(server, job, trainer, accumulation):
    run = Run(VARIED, epochs=2, accumulation=accumulation)
    trainer.train(server, job, run)
    record = server.record(job)
    assert known(record) == pytest.approx(trainer.updates(run))
    assert list(record["learning_rate"]) == list(record["loss"]), "a step is an update"


def test_a_constant_loss_is_constant(server, job, trainer):
    run = Run([1.0] * 5, epochs=3, accumulation=2)
    trainer.train(server, job, run)
    assert known(server.record(job)) == [1.0] * len(trainer.updates(run))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_that_of_its_update_alone(server, job, trainer, bad):
    run = Run([1.0, bad, 3.0, 4.0], epochs=2)
    trainer.train(server, job, run)
    record = server.record(job)
    losses = record["loss"]
    for step, expected in enumerate(run.losses * 2):
        if math.isfinite(expected):
            # Keras tells no loss after this one until its epoch ends.
            assert losses.get(step, expected if type(trainer).__name__ == "Keras" else None) == expected
        else:
            assert not math.isfinite(losses[step])
    if trainer.knows_skips:
        why = float(getattr(trainer, "skipped_as", Skipped.NOT_FINITE))
        assert record[SKIPPED_METRIC] == {1: why, 5: why}


@pytest.mark.parametrize("name", ["torch", "accelerate", "transformers", "lightning", "fastai", "trl", "peft"])
def test_an_update_that_a_scaler_skips_is_reported_as_skipped(server, job, tmp_path, name):
    trainer = TRAINERS[name]()
    more = {"directory": tmp_path} if name in IN_A_DIRECTORY else {}
    trainer.train(server, job, Run([1.0, math.inf, 3.0, 4.0], with_scaler=True), **more)
    record = server.record(job)
    assert list(record[SKIPPED_METRIC]) == [1]
    assert [record["loss"][step] for step in (0, 2, 3)] == [1.0, 3.0, 4.0]
    assert torch.isfinite(trainer.model.weight).all()


def test_an_exception_leaves_nothing_behind(server, job, trainer):
    with pytest.raises(FailureError):
        trainer.train(server, job, Run([1.0] * 6, fail_at=3))
    if type(trainer).__name__ == "Keras":
        trainer.callback.on_train_begin()  # Keras tells no callback of an exception; the next `fit` leaves it
    assert not lrs.lifetime.living
    assert len(server.record(job)["loss"]) == 3
    optimizer = getattr(trainer, "optimizer", None)
    if optimizer is not None:
        assert not optimizer._optimizer_step_pre_hooks
        assert not optimizer._optimizer_step_post_hooks
    if hasattr(trainer, "trainer"):
        hooked = {"training_step", "_run_epoch", "clip_grad_norm_"}
        assert not hooked & (
            vars(trainer.trainer).keys() | vars(getattr(trainer.trainer, "accelerator", trainer)).keys()
        )


def test_a_training_that_is_stopped_ends_its_record_there(server, job, trainer):
    trainer.train(server, job, Run([1.0] * 6, epochs=1, stop_after=4))
    losses = server.record(job)["loss"]
    assert list(losses)[:4] == [0, 1, 2, 3]
    assert len(losses) <= 6
    assert not lrs.lifetime.living


def test_a_resumed_training_goes_on_with_the_curve(server, job, trainer):
    linear = {"total_steps": 8, "schedule": {"linear": {}}}
    checkpoint = trainer.train(server, job, Run([1.0] * 4, options=linear))
    epochs = 2 if getattr(trainer, "counts_epochs_before", False) else 1
    trainer.train(server, job, Run([1.0] * 4, epochs=epochs, options=linear, checkpoint=checkpoint))
    assert known(server.record(job), "learning_rate") == pytest.approx([0.1 * (1 - k / 8) for k in range(8)])
    assert [(one.attempt, one.resume_step) for one in server.attempts(job)] == [(1, 0), (2, 4)]


@pytest.mark.parametrize("name", ["torch", "accelerate", "transformers", "lightning", "composer", "ray", "trl"])
def test_a_group_that_is_unfrozen_is_trained_and_made_known(server, job, tmp_path, name):
    trainer = TRAINERS[name]()
    more = {"directory": tmp_path} if name in IN_A_DIRECTORY else {}
    options = {"schedule": {"linear": {}}, "total_steps": 100}
    keeper = lrs.link.TICK
    try:
        lrs.link.TICK = 0.01
        trainer.train(server, job, Run([1.0] * 30, grow_at=3, options=options), **more)
    finally:
        lrs.link.TICK = keeper
    assert len(server.record(job)["loss"]) == 30
    assert known(server.record(job), "learning_rate") == pytest.approx([0.1 * (1 - k / 100) for k in range(30)])
    groups = trainer.optimizer.param_groups
    assert len(groups) == 2
    assert len(trainer.scheduler.get_last_lr()) == 2

    def told():
        return [(group.name, group.base_lr) for group in server.job(job).spec.groups]

    wait_for("the group", lambda: told() == [("default", 0.1), ("unfrozen", 0.02)])


def test_evaluations_are_recorded_where_they_happen(server, job, trainer):
    run = Run([1.0] * 4, epochs=2, evaluate=[0.5, 0.25])
    trainer.train(server, job, run)
    found = server.record(job)["val_loss"]
    assert list(found.values()) == [0.5, 0.25]
    assert next(iter(found)) == 4, "after four updates, and before the next"


@pytest.mark.parametrize("name", ["torch", "accelerate", "jax"])
def test_a_loss_that_never_comes_is_missed(server, job, caplog, name):
    controllers = {"controllers": [{"reduce_lr_on_plateau": {"patience": 3}}]}
    with caplog.at_level(logging.WARNING, "lrs"):
        TRAINERS[name]().train(server, job, Run([1.0] * 60, with_loss=False, options=controllers))
    told = [record.getMessage() for record in caplog.records if "steers by" in record.getMessage()]
    assert len(told) == 1
    assert "no loss has come in 20 steps" in told[0]
    assert "scheduler.step(loss)" in told[0]
