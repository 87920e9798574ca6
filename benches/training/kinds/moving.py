"""Losses that do not say how good the network is, because what they measure moves: adversaries, and policy gradients.

Here a controller that looks at the training loss can only do harm.
"""
import numpy as np
import sklearn.datasets
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import softplus

from kinds.tabular import layers
from torch_engine import TorchWorkload


def energy_distance(a, b):
    """Szekely's distance of two samples: 0 where they are of one distribution."""
    return 2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()


class GAN(TorchWorkload):
    """A generator of points in the plane and its discriminator, updated together: Adam; the validation is the energy
    distance of generated and real points."""

    T, lr0, wd, betas, noise, rows = 1000, 2e-3, 0.0, (0.5, 0.9), 4, 64

    def data(self):
        points = torch.as_tensor(self.points(6000), dtype=torch.float32)
        self.x, self.steering, self.scoring = points[2000:], points[0:2000:2], points[1:2000:2]
        self.fixed = torch.randn(1000, self.noise, generator=torch.Generator().manual_seed(1))

    def points(self, n):
        """Eight blobs on a ring."""
        r = np.random.RandomState(2)
        angle = 2 * np.pi * r.randint(0, 8, n) / 8
        return np.stack((np.cos(angle), np.sin(angle)), 1) * 1.5 + 0.1 * r.randn(n, 2)

    def network(self):
        return nn.ModuleDict(dict(generator=layers(self.noise, 48, 48, 2, dropout=0.0),
                                  discriminator=layers(2, 48, 48, 1, dropout=0.0)))

    def batch(self):
        noise = torch.randn(self.rows, self.noise, generator=self.random)
        return self.x[torch.randint(len(self.x), (self.rows,), generator=self.random)], noise

    def loss(self, model, batch):
        real, noise = batch
        fake, judge = model["generator"](noise), model["discriminator"]
        judged = softplus(-judge(real)).mean() + softplus(judge(fake.detach())).mean()
        # The generator's gradient passes through the discriminator and leaves it alone.
        frozen = {name: p.detach() for name, p in judge.named_parameters()}
        return judged + softplus(-functional_call(judge, frozen, fake)).mean()

    def val(self, model, rows):
        return energy_distance(model["generator"](self.fixed), rows)


class MoonsGAN(GAN):
    """The same for two moons."""

    T, rows, noise = 800, 48, 3

    def points(self, n):
        return sklearn.datasets.make_moons(n, noise=0.08, random_state=3)[0] * 1.2


class Bandit(TorchWorkload):
    """Guesses a digit and is told only whether it is right: REINFORCE with a running baseline and an entropy bonus;
    the validation is the expected share of wrong guesses."""

    T, lr0, wd, rows, classes = 1000, 3e-3, 0.0, 32, 10

    def data(self):
        d = sklearn.datasets.load_digits()
        self.keep(d.data / 16 - 0.3, d.target)

    def keep(self, x, y, n_val=700):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(4))
        x, y = torch.as_tensor(x, dtype=torch.float32)[order], torch.as_tensor(y)[order]
        self.x, self.y = x[n_val:], y[n_val:]
        self.steering, self.scoring = ((x[i:n_val:2], y[i:n_val:2]) for i in (0, 1))

    def init(self, seed, optimizer=None):
        self.baseline = 1 / self.classes
        super().init(seed, optimizer)

    def network(self):
        return layers(self.x.shape[1], 64, self.classes, dropout=0.0)

    def batch(self):
        rows = torch.randint(len(self.x), (self.rows,), generator=self.random)
        return self.x[rows], self.y[rows]

    def loss(self, model, batch):
        log_p = model(batch[0]).log_softmax(-1)
        if not bool(torch.isfinite(log_p).all()):
            return log_p.sum()
        guess = torch.multinomial(log_p.detach().exp(), 1, generator=self.random)[:, 0]
        reward = (guess == batch[1]).float()
        entropy = -(log_p.exp() * log_p).sum(-1).mean()
        chosen = log_p.gather(1, guess[:, None])[:, 0]
        loss = -((reward - self.baseline) * chosen).mean() - 0.01 * entropy
        self.baseline += 0.05 * (float(reward.mean()) - self.baseline)
        return loss

    def val(self, model, rows):
        right = model(rows[0]).softmax(-1).gather(1, rows[1][:, None])
        return 1 - right.mean()


class TableBandit(Bandit):
    """The same for four actions and 12 columns."""

    T, rows, classes = 800, 24, 4

    def data(self):
        x, y = sklearn.datasets.make_classification(5000, 12, n_informative=8, n_classes=4, random_state=9)
        self.keep(x / x.std(0), y, 2000)
