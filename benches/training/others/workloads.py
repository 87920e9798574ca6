"""Five workloads of other kinds than the public six, to see what holds beyond those: nothing was tuned on their anchors."""
import jax
import jax.numpy as jnp
import numpy as np
import sklearn.datasets

from engine import Classifier, Workload, aff, dense, mislabelled, mlp, mlp_f, mse, pick, split


class Softmax(Classifier):
    """Softmax regression on scikit-learn's digits: convex; SGD with momentum."""

    name, T, lr0 = "digits_softmax_sgdm", 1000, 0.1
    batch = 16

    def data(self):
        d = sklearn.datasets.load_digits()
        x, y = (d.data / 16 - 0.3).astype(np.float32), d.target.astype(np.int32)
        self.x, self.y, self.vx, self.vy = split(x, y, 500, 2)

    def params(self, key):
        return dense(key, 64, 10, 0.01)

    def logits(self, p, x):
        return aff(p, x)


class Autoencoder(Workload):
    """Digits through a bottleneck of 8; Adam."""

    name, T, lr0, opt = "digits_autoencoder_adam", 1200, 3e-3, "adam"

    def data(self):
        x = (sklearn.datasets.load_digits().data / 16).astype(np.float32)
        self.x, _, self.vx, _ = split(x, x, 500, 3)

    def params(self, key):
        return mlp(key, (64, 48, 8, 48, 64))

    def sample(self, key):
        return pick(key, 32, (self.x,))

    def loss(self, p, b):
        return mse(mlp_f(p, b[0]), b[0])

    def val(self, p):
        return mse(mlp_f(p, self.vx), self.vx)


class DeepTanh(Workload):
    """Eight layers of tanh that learn a drawn function of 10 inputs: slow at first; SGD with momentum."""

    name, T, lr0 = "deep_tanh_sgdm", 1500, 0.05

    def data(self):
        r = np.random.RandomState(4)
        x = r.randn(2000, 10).astype(np.float32)
        y = np.sin(2 * x @ r.randn(10) / 3) + np.cos(x @ r.randn(10) / 2) * np.sign(x[:, 0]) + 0.1 * r.randn(2000)
        self.x, self.y, self.vx, self.vy = split(x, y.astype(np.float32), 600, 4)

    def params(self, key):
        return mlp(key, (10, *[32] * 8, 1))

    def sample(self, key):
        return pick(key, 32, (self.x, self.y))

    def loss(self, p, b):
        return mse(mlp_f(p, b[0], jnp.tanh)[:, 0], b[1])

    def val(self, p):
        return mse(mlp_f(p, self.vx, jnp.tanh)[:, 0], self.vy)


class LayerNorm(Classifier):
    """A network with layer norms on 300 rows, a fifth of whose labels are wrong: it overfits; AdamW."""

    name, T, eval_every, lr0, opt, wd = "layernorm_noisy_adamw", 800, 20, 3e-3, "adam", 0.05
    batch = 16

    def data(self):
        x, y = sklearn.datasets.make_classification(1100, 20, n_informative=8, n_classes=4, random_state=5)
        self.x, self.y, self.vx, self.vy = split(x.astype(np.float32) / 2, y.astype(np.int32), 800, 5)
        self.y = mislabelled(self.y, 0.2, 4, 5)

    def params(self, key):
        return mlp(key, (20, 48, 48, 4))

    def logits(self, p, x):
        for layer in p[:-1]:
            h = aff(layer, x)
            x = jax.nn.relu((h - jnp.mean(h, -1, keepdims=True)) * jax.lax.rsqrt(jnp.var(h, -1, keepdims=True) + 1e-5))
        return aff(p[-1], x)


class Friedman(Workload):
    """Friedman's first regression with noise, 16 rows a batch: losses that say little each; SGD with momentum."""

    name, T, lr0 = "friedman_sgdm", 1000, 0.02

    def data(self):
        x, y = sklearn.datasets.make_friedman1(1000, noise=1.0, random_state=6)
        y = (y - y.mean()) / y.std()
        self.x, self.y, self.vx, self.vy = split((x - 0.5).astype(np.float32) * 3, y.astype(np.float32), 600, 6)

    def params(self, key):
        return mlp(key, (10, 32, 32, 1))

    def sample(self, key):
        return pick(key, 16, (self.x, self.y))

    def loss(self, p, b):
        return mse(mlp_f(p, b[0])[:, 0], b[1])

    def val(self, p):
        return mse(mlp_f(p, self.vx)[:, 0], self.vy)


ALL = [Softmax, Autoencoder, DeepTanh, LayerNorm, Friedman]
