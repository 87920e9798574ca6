"""Keras: `fit` trains with the service's rates, on any backend."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from lrs.keras import LrsCallback

x = np.random.default_rng(0).normal(size=(512, 8)).astype("float32")
y = x.sum(axis=1, keepdims=True)
model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(16, activation="relu"), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse")
one_cycle = {"library": "torch", "scheduler": "OneCycleLR", "params": {"max_lr": 0.03, "total_steps": 8 * 13}}
callback = LrsCallback("examples/keras", schedule=one_cycle)
model.fit(x, y, batch_size=32, epochs=8, validation_split=0.2, verbose=2, callbacks=[callback])
