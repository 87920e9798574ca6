"""A table of numbers and an MLP with dropout: AdamW, trainings of 60 to 20,000 steps."""
import numpy as np
import sklearn.datasets
import torch
from torch import nn

from torch_engine import TorchClassifier, TorchWorkload

LENGTHS = (60, 200, 1000, 5000, 20000)


def layers(*sizes, dropout):
    parts = []
    for i, o in zip(sizes[:-2], sizes[1:-1], strict=True):
        parts += [nn.Linear(i, o), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*parts, nn.Linear(*sizes[-2:]))


class Classes(TorchClassifier):
    """Five classes in 24 columns, some uninformative, with 8% of the classes wrong."""

    lr0, wd, rows = 1e-2, 0.01, 64

    def data(self):
        x, y = sklearn.datasets.make_classification(
            34000, 24, n_informative=12, n_redundant=6, n_classes=5, n_clusters_per_class=3, flip_y=0.08,
            random_state=7)
        self.keep(x / x.std(0), y, 4000, 7)

    def network(self):
        return layers(24, 64, 64, 5, dropout=0.1)


class Price(TorchWorkload):
    """A price, as that of used goods: products of columns with long tails, and noise."""

    lr0, wd, rows = 1e-2, 0.01, 48

    def data(self):
        r = np.random.RandomState(11)
        x = r.randn(24000, 14)
        x[:, 4:8] = np.exp(0.7 * x[:, 4:8])
        kinds = r.randint(0, 6, len(x))
        y = 0.5 * x[:, 0] * x[:, 1] + np.log1p(x[:, 4]) * np.sin(2 * x[:, 2]) + np.abs(x[:, 3]) * r.randn(6)[kinds]
        y += 0.4 * np.tanh(x[:, 5] - x[:, 6]) + 0.3 * r.randn(len(x))
        x = np.hstack([x / x.std(0), np.eye(6)[kinds]])
        y = (y - y.mean()) / y.std()
        x, y = (torch.as_tensor(each, dtype=torch.float32) for each in (x, y))
        self.x, self.y = x[4000:], y[4000:]
        self.steering, self.scoring = ((x[i:4000:2], y[i:4000:2]) for i in (0, 1))

    batch = TorchClassifier.batch

    def network(self):
        return layers(20, 96, 48, 1, dropout=0.05)

    def loss(self, model, batch):
        return nn.functional.mse_loss(model(batch[0])[:, 0], batch[1])

    val = loss


class Accumulating:
    """Four batches a step, and a trainer that reports the loss of the last one, as many do."""

    T, accumulate = 600, 4

    def reported(self, losses):
        return losses[-1]


class HalfPrecision:
    """Forward and backward in bfloat16, weights and optimizer in single precision."""

    T = 1000

    def loss(self, model, batch):
        with torch.autocast("cpu", torch.bfloat16):
            return super().loss(model, batch).float()

    def val(self, model, rows):
        return self.loss(model, rows)


def of_all_lengths(kind, prefix):
    """A class for each length."""
    return [type(kind.__name__, (kind,), dict(name=f"{prefix}_{T}", T=T, __doc__=kind.__doc__)) for T in LENGTHS]
