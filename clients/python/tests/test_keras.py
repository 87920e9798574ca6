"""Keras 3 on JAX."""

import keras
import numpy as np
import pytest

import lrs
from lrs.keras import LrsCallback

LINEAR = {"schedule": {"linear": {}}, "deadline": 20.0, "close_timeout": 20.0}


@pytest.fixture
def data():
    x = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
    return x, x.sum(axis=1, keepdims=True)


class Watch(keras.callbacks.Callback):
    """Keeps the weights after each batch: their difference shows the rate that was used."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.model.jax_state_sync()
        self.weights.append(self.model.get_weights()[0].copy())


def compiled(rate=0.1):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(optimizer=keras.optimizers.SGD(rate), loss="mse")
    return model


def test_fit_trains_with_the_rates_of_the_service(server, job, data):
    assert keras.backend.backend() == "jax"
    model, watch = compiled(), Watch()
    start = model.get_weights()[0].copy()
    fit = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}
    model.fit(*data, callbacks=[LrsCallback(job, server=server.url, **LINEAR), watch], validation_data=data, **fit)
    expected = [0.1 * (1 - step / 12) for step in range(12)]
    record = server.record(job)
    assert list(record["learning_rate"].values()) == pytest.approx(expected)
    # The same by hand: w - rate * gradient of the mean squared error.
    w = start
    for step, rate in enumerate(expected):
        x, y = (part[8 * (step % 6) :][:8] for part in data)
        error = x @ w - y
        assert record["loss"][step] == pytest.approx(float((error**2).mean()), rel=1e-3)
        w = w - rate * 2 * x.T @ error / 8
        assert watch.weights[step] == pytest.approx(w, rel=1e-4)
    assert sorted(record["val_loss"]) == [6, 11]


def test_a_new_fit_resumes_from_a_state(server, job, data):
    fit = {"batch_size": 8, "epochs": 1, "verbose": 0}
    first = LrsCallback(job, server=server.url, total_steps=12, **LINEAR)
    model = compiled()
    model.fit(*data, callbacks=[first], **fit)
    second = LrsCallback(job, server=server.url, state=first.state_dict())
    model.fit(*data, callbacks=[second], **fit)
    assert list(server.record(job)["learning_rate"].values()) == pytest.approx([0.1 * (1 - k / 12) for k in range(12)])
    assert [(one.attempt, one.resume_step) for one in server.attempts(job)] == [(1, 0), (2, 6)]


def test_an_optimizer_with_a_schedule_of_its_own_is_refused(server, job, data):
    model = compiled(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9))
    with pytest.raises(lrs.UsageError, match="schedule of its own"):
        model.fit(*data, callbacks=[LrsCallback(job, server=server.url)], verbose=0)


def test_the_rate_of_the_optimizer_is_the_one_that_was_written(server, job, data, caplog):
    lrs.Scheduler(job, server=server.url, groups=0.1, total_steps=6, complete=False).close()
    compiled().fit(*data, batch_size=8, verbose=0, callbacks=[LrsCallback(job, server=server.url, deadline=20.0)])
    assert "is registered with" not in caplog.text
    assert server.record(job)["learning_rate"][0] == 0.1
