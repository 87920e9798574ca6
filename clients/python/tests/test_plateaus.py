"""Plateau controllers that count epochs, beside the libraries' own, which trainers step once an epoch."""

import keras
import numpy as np
import optax
import pytest
import torch

import lrs

STEPS = 200
EPOCHS = 8
PATIENT = {"deadline": 20.0, "close_timeout": 20.0}
TORCH = {"library": "torch", "scheduler": "ReduceLROnPlateau"}
KERAS = {"library": "keras", "scheduler": "ReduceLROnPlateau"}
OPTAX = {"library": "optax", "scheduler": "contrib.reduce_on_plateau"}


def losses(falls: float):
    """The losses of each epoch: noisier from step to step than the mean falls from epoch to epoch."""
    noise = np.random.default_rng(22).normal(size=(EPOCHS, STEPS))
    return [[float(2 - falls * epoch + 0.5 * x) for x in noise[epoch]] for epoch in range(EPOCHS)]


def rates(job, server, reported, **arguments):
    """The service's rate at the first step of each epoch, and at the step after the last."""
    scheduler = lrs.Scheduler(job, server=server.url, groups=0.1, **(PATIENT | arguments))
    found = [scheduler.learning_rate]
    for epoch in reported:
        for loss in epoch:
            rate = scheduler.step(loss).rates[0]
        found.append(rate)
    scheduler.close()
    return found


def torchs(means, **arguments):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **arguments)
    found = [0.1]
    for mean in means:
        plateau.step(mean)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def kerases(means, **arguments):
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    plateau = keras.callbacks.ReduceLROnPlateau(**arguments)
    plateau.set_model(model)
    plateau.on_train_begin()
    found = [0.1]
    for epoch, mean in enumerate(means):
        plateau.on_epoch_end(epoch, {"loss": mean})
        found.append(float(model.optimizer.learning_rate))
    return found


def optaxes(means, **arguments):
    plateau = optax.contrib.reduce_on_plateau(**arguments)
    state = plateau.init({})
    found = [0.1]
    for mean in means:
        _, state = plateau.update({}, state, value=mean)
        found.append(0.1 * float(state.scale))
    return found


@pytest.mark.parametrize("falls", [0.05, 0.0])
@pytest.mark.parametrize(
    ("controller", "own", "params"),
    [
        (TORCH, torchs, {"patience": 1, "factor": 0.5}),
        (KERAS, kerases, {"monitor": "loss", "patience": 2, "factor": 0.5}),
        (OPTAX, optaxes, {"patience": 2, "factor": 0.5}),
    ],
)
def test_the_rates_over_epochs_are_the_librarys(server, job, controller, own, params, falls):
    reported = losses(falls)
    expected = own([sum(epoch) / STEPS for epoch in reported], **params)
    assert (expected[-1] < 0.1) == (falls == 0.0)

    found = rates(job, server, reported, controllers=[controller | {"params": params}], steps_per_epoch=STEPS)

    assert found == pytest.approx(expected, rel=1e-6)


def test_torchs_defaults_leave_a_healthy_loss_alone_and_say_where_they_count_steps(server, job, caplog):
    reported = losses(0.05)
    assert rates(job, server, reported, controllers=[TORCH], steps_per_epoch=STEPS) == [0.1] * (EPOCHS + 1)
    assert "counts every reported value of loss" not in caplog.text
    assert rates(f"{job}-steps", server, reported[:1], controllers=[TORCH])[-1] < 0.1
    assert "set steps_per_epoch" in caplog.text
