"""Six training workloads whose data ship with scikit-learn or are drawn here: seconds each on one core."""
import glob
import os

import jax
import jax.numpy as jnp
import numpy as np
import sklearn.datasets

from engine import Classifier, Workload, aff, chars, dense, mislabelled, mlp, mlp_f, mse, pick, split, xent


class Quad(Workload):
    """An ill-conditioned noisy quadratic, the case that theory covers; SGD with momentum."""

    name, T, lr0 = "quad_sgdm", 1500, 0.1

    def data(self):
        self.h = jnp.asarray(np.logspace(0, -3, 64), jnp.float32)

    def params(self, key):
        return jax.random.normal(key, (64,)) * 1.0 + 1.0

    def sample(self, key):
        return jax.random.normal(key, (16, 64)) * 1.0

    def loss(self, p, b):
        return 0.5 * jnp.sum(self.h * p * p) + jnp.sum(jnp.mean(b, 0) * jnp.sqrt(self.h) * p) + 0.05

    def val(self, p):
        return 0.5 * jnp.sum(self.h * p * p) + 0.05


class DigitsMLP(Classifier):
    """scikit-learn's digits with 10% of the training labels wrong, an MLP; SGD with momentum."""

    name, T, lr0 = "digits_mlp_sgdm", 1500, 0.03

    def data(self):
        d = sklearn.datasets.load_digits()
        x, y = (d.data / 16 - 0.3).astype(np.float32), d.target.astype(np.int32)
        self.x, self.y, self.vx, self.vy = split(x, y, 500, 0)
        self.y = mislabelled(self.y, 0.1, 10, 1)

    def params(self, key):
        return mlp(key, (64, 64, 64, 10))

    def logits(self, p, x):
        return mlp_f(p, x)


class DigitsCNN(Classifier):
    """A small convolutional net on digits; Adam."""

    name, T, eval_every, lr0, opt = "digits_cnn_adam", 800, 20, 3e-3, "adam"

    def data(self):
        d = sklearn.datasets.load_digits()
        x, y = (d.images[..., None] / 16 - 0.3).astype(np.float32), d.target.astype(np.int32)
        self.x, self.y, self.vx, self.vy = split(x, y, 500, 1)

    def params(self, key):
        a, b, c = jax.random.split(key, 3)
        return dict(c1=jax.random.normal(a, (3, 3, 1, 8)) * 0.4, c2=jax.random.normal(b, (3, 3, 8, 16)) * 0.16,
                    o=dense(c, 64, 10))

    def logits(self, p, x):
        for w in (p["c1"], p["c2"]):
            x = jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x = jax.nn.relu(x)
        return aff(p["o"], x.reshape(x.shape[0], -1))


class CharLM(Workload):
    """A character transformer of one layer on the texts that describe scikit-learn's data sets; AdamW."""

    name, T, lr0, opt, wd = "charlm_tf_adamw", 1000, 3e-3, "adam", 0.01
    context, width, heads = 32, 48, 4

    def data(self):
        folder = os.path.join(os.path.dirname(sklearn.datasets.__file__), "descr")
        texts = []
        for path in sorted(glob.glob(folder + "/*.rst")):
            with open(path, encoding="utf8") as file:
                texts.append(file.read())
        text = chars("".join(texts))
        n = len(text) * 9 // 10
        self.tr, rest = jnp.asarray(text[:n]), text[n:]
        starts = np.random.RandomState(0).randint(0, len(rest) - self.context - 1, 96)
        self.te = jnp.asarray(np.stack([rest[i : i + self.context + 1] for i in starts]))

    def params(self, key):
        ks = jax.random.split(key, 8)
        D = self.width
        return dict(e=jax.random.normal(ks[0], (64, D)) * 0.1, pos=jax.random.normal(ks[1], (self.context, D)) * 0.1,
                    qkv=dense(ks[2], D, 3 * D, 1.0), o=dense(ks[3], D, D, 1.0), u=dense(ks[4], D, 2 * D),
                    d=dense(ks[5], 2 * D, D, 1.0), out=dense(ks[6], D, 64, 0.3), g1=jnp.ones(D), g2=jnp.ones(D),
                    g3=jnp.ones(D))

    def logits(self, p, x):
        def norm(h, g):
            return g * h * jax.lax.rsqrt(jnp.mean(h * h, -1, keepdims=True) + 1e-6)

        h = p["e"][x] + p["pos"]
        B, L, D = h.shape
        H = self.heads
        q, k, v = (a.reshape(B, L, H, D // H).transpose(0, 2, 1, 3)
                   for a in jnp.split(aff(p["qkv"], norm(h, p["g1"])), 3, -1))
        s = q @ k.transpose(0, 1, 3, 2) / jnp.sqrt(D / H)
        s = jnp.where(jnp.tril(jnp.ones((L, L), bool)), s, -1e9)
        a = (jax.nn.softmax(s, -1) @ v).transpose(0, 2, 1, 3).reshape(B, L, D)
        h = h + aff(p["o"], a)
        h = h + aff(p["d"], jax.nn.relu(aff(p["u"], norm(h, p["g2"]))))
        return aff(p["out"], norm(h, p["g3"]))

    def sample(self, key):
        starts = jax.random.randint(key, (8,), 0, self.tr.shape[0] - self.context - 1)
        return jax.vmap(lambda i: jax.lax.dynamic_slice(self.tr, (i,), (self.context + 1,)))(starts)

    def loss(self, p, b):
        return xent(self.logits(p, b[:, :-1]), b[:, 1:])

    def val(self, p):
        return self.loss(p, self.te)


class MatFac(Workload):
    """Factorisation of a noisy matrix of rank 6, 30% of it observed, from a saddle; SGD with momentum."""

    name, T, lr0 = "matfac_sgdm", 1500, 3.0

    def data(self):
        r = np.random.RandomState(0)
        u, v = r.randn(120, 6), r.randn(90, 6) * np.logspace(0, -0.7, 6)
        M = (u @ v.T / 2 + 0.3 * r.randn(120, 90)).astype(np.float32)
        i, j = np.where(r.rand(120, 90) < 0.4)
        order = r.permutation(len(i))
        i, j = i[order], j[order]
        n = len(i) * 3 // 4
        self.tr = tuple(jnp.asarray(a[:n]) for a in (i, j, M[i, j]))
        self.te = tuple(jnp.asarray(a[n:]) for a in (i, j, M[i, j]))

    def params(self, key):
        a, b = jax.random.split(key)
        return dict(u=jax.random.normal(a, (120, 8)) * 0.1, v=jax.random.normal(b, (90, 8)) * 0.1)

    def sample(self, key):
        return pick(key, 128, self.tr)

    def error(self, p, b):
        return mse(jnp.sum(p["u"][b[0]] * p["v"][b[1]], -1), b[2])

    def loss(self, p, b):
        return self.error(p, b) + 1e-3 * (jnp.mean(p["u"] ** 2) + jnp.mean(p["v"] ** 2))

    def val(self, p):
        return self.error(p, self.te)


class Diabetes(Workload):
    """scikit-learn's diabetes regression: small data, much noise, an MLP that overfits; Adam."""

    name, T, eval_every, lr0, opt = "diabetes_mlp_adam", 800, 20, 3e-3, "adam"

    def data(self):
        d = sklearn.datasets.load_diabetes()
        x, y = (d.data * 21).astype(np.float32), ((d.target - 152) / 77).astype(np.float32)
        self.x, self.y, self.vx, self.vy = split(x, y, 142, 0)

    def params(self, key):
        return mlp(key, (10, 16, 1))

    def sample(self, key):
        return pick(key, 16, (self.x, self.y))

    def loss(self, p, b):
        return mse(mlp_f(p, b[0], jnp.tanh)[:, 0], b[1])

    def val(self, p):
        return mse(mlp_f(p, self.vx, jnp.tanh)[:, 0], self.vy)


ALL = [Quad, DigitsMLP, DigitsCNN, CharLM, MatFac, Diabetes]
