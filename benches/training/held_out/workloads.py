"""Six workloads drawn after the third revision of the closed loop was finished: nothing was tuned on them."""
import jax
import jax.numpy as jnp
import numpy as np
import sklearn.datasets

from engine import Classifier, Workload, aff, dense, mislabelled, mlp, mlp_f, mse, pick, split, xent


class DigitsAdam(Classifier):
    """A network on scikit-learn's digits; Adam."""

    name, T, lr0, opt = "digits_mlp_adam", 1000, 3e-3, "adam"

    def data(self):
        d = sklearn.datasets.load_digits()
        x, y = (d.data / 16 - 0.3).astype(np.float32), d.target.astype(np.int32)
        self.x, self.y, self.vx, self.vy = split(x, y, 600, 7)

    def params(self, key):
        return mlp(key, (64, 48, 48, 10))

    def logits(self, p, x):
        return mlp_f(p, x)


class Attention(Workload):
    """One layer of causal attention; what came after a token before comes after it again in a sequence; AdamW."""

    name, T, lr0, opt, wd = "attention_recall_adamw", 1500, 3e-3, "adam", 0.01
    VOCABULARY, LENGTH, WIDTH = 12, 24, 32

    def data(self):
        r = np.random.RandomState(8)

        def sequences(n):
            follows = np.array([r.permutation(self.VOCABULARY) for _ in range(n)])
            x = np.zeros((n, self.LENGTH + 1), np.int32)
            x[:, 0] = r.randint(0, self.VOCABULARY, n)
            for i in range(self.LENGTH):
                chance = r.rand(n) < 0.15
                x[:, i + 1] = np.where(chance, r.randint(0, self.VOCABULARY, n), follows[np.arange(n), x[:, i]])
            return jnp.asarray(x)

        self.x, self.te = sequences(4000), sequences(400)

    def params(self, key):
        k = jax.random.split(key, 8)
        w = self.WIDTH
        return dict(
            e=0.1 * jax.random.normal(k[0], (self.VOCABULARY, w)),
            p=0.1 * jax.random.normal(k[1], (self.LENGTH, w)),
            s=dense(k[2], 2 * w, w, 1.0),
            q=dense(k[3], w, w, 1.0),
            k=dense(k[4], w, w, 1.0),
            v=dense(k[5], w, w, 1.0),
            f=mlp(k[6], (w, 2 * w, w)),
            o=dense(k[7], w, self.VOCABULARY, 0.1),
        )

    def logits(self, p, x):
        h = p["e"][x] + p["p"]
        before = jnp.concatenate([jnp.zeros_like(h[:, :1]), h[:, :-1]], 1)
        h = h + aff(p["s"], jnp.concatenate([h, before], -1))
        q, k, v = aff(p["q"], h), aff(p["k"], h), aff(p["v"], h)
        a = jnp.einsum("bid,bjd->bij", q, k) / np.sqrt(self.WIDTH)
        a = jnp.where(jnp.tril(jnp.ones((self.LENGTH, self.LENGTH), bool)), a, -1e9)
        h = h + jnp.einsum("bij,bjd->bid", jax.nn.softmax(a, -1), v)
        return aff(p["o"], h + mlp_f(p["f"], h))

    def sample(self, key):
        return pick(key, 16, (self.x,))

    def loss(self, p, b):
        return xent(self.logits(p, b[0][:, :-1]), b[0][:, 1:])

    def val(self, p):
        return xent(self.logits(p, self.te[:, :-1]), self.te[:, 1:])


class Logistic(Classifier):
    """Logistic regression on the breast cancer data, columns of uneven size: ill-conditioned and convex; plain SGD."""

    name, T, lr0, mu = "cancer_logistic_sgd", 1000, 0.1, 0.0
    batch = 8

    def data(self):
        d = sklearn.datasets.load_breast_cancer()
        x = (d.data - d.data.mean(0)) / d.data.std(0) * np.geomspace(0.3, 3, d.data.shape[1])
        self.x, self.y, self.vx, self.vy = split(x.astype(np.float32), d.target.astype(np.int32), 300, 9)

    def params(self, key):
        return dense(key, 30, 2, 0.01)

    def logits(self, p, x):
        return aff(p, x)

    def loss(self, p, b):
        return super().loss(p, b) + 1e-3 * jnp.sum(p["w"] ** 2)


class Spirals(Classifier):
    """A residual network on three noisy spirals; SGD with momentum."""

    name, T, lr0 = "spirals_residual_sgdm", 1200, 0.03
    batch = 24

    def data(self):
        r = np.random.RandomState(10)
        y = r.randint(0, 3, 3000)
        t = r.rand(3000)
        angle = 4 * t + 2 * np.pi / 3 * y + 0.15 * r.randn(3000)
        x = np.stack([t * np.cos(angle), t * np.sin(angle)], 1) * 3
        self.x, self.y, self.vx, self.vy = split(x.astype(np.float32), y.astype(np.int32), 1500, 10)

    def params(self, key):
        k = jax.random.split(key, 10)
        return dict(i=dense(k[0], 2, 24), o=dense(k[1], 24, 3, 1.0),
                    b=[(dense(k[2 + 2 * i], 24, 24), dense(k[3 + 2 * i], 24, 24, 0.1)) for i in range(4)])

    def logits(self, p, x):
        h = aff(p["i"], x)
        for first, second in p["b"]:
            h = h + aff(second, jax.nn.relu(aff(first, h)))
        return aff(p["o"], jax.nn.relu(h))


class Recurrent(Workload):
    """A gated recurrent network that foretells a noisy sum of waves; Adam."""

    name, T, lr0, opt = "waves_gru_adam", 1000, 3e-3, "adam"
    WIDTH = 24

    def data(self):
        r = np.random.RandomState(11)

        def waves(n):
            t = np.arange(33)[None, :, None]
            f, s = r.uniform(0.2, 1.2, (n, 1, 2)), r.uniform(0, 6.3, (n, 1, 2))
            x = np.sin(f * t + s).sum(-1) + 0.1 * r.randn(n, 33)
            return jnp.asarray(x, jnp.float32)

        self.x, self.te = waves(1500), waves(500)

    def params(self, key):
        k = jax.random.split(key, 3)
        return dict(
            g=dense(k[0], 1 + self.WIDTH, 2 * self.WIDTH, 1.0),
            c=dense(k[1], 1 + self.WIDTH, self.WIDTH, 1.0),
            o=dense(k[2], self.WIDTH, 1, 1.0),
        )

    def run(self, p, x):
        """The mean squared error of the next value."""

        def cell(h, v):
            g = jax.nn.sigmoid(aff(p["g"], jnp.concatenate([v[:, None], h], 1)))
            z, r = jnp.split(g, 2, 1)
            c = jnp.tanh(aff(p["c"], jnp.concatenate([v[:, None], r * h], 1)))
            h = (1 - z) * h + z * c
            return h, aff(p["o"], h)[:, 0]

        _, out = jax.lax.scan(cell, jnp.zeros((x.shape[0], self.WIDTH)), x[:, :-1].T)
        return mse(out.T, x[:, 1:])

    def sample(self, key):
        return pick(key, 16, (self.x,))

    def loss(self, p, b):
        return self.run(p, b[0])

    def val(self, p):
        return self.run(p, self.te)


class Convolutions(Classifier):
    """Two convolutions on digits with a tenth of the labels wrong; Adam."""

    name, T, eval_every, lr0, opt = "digits_conv_noisy_adam", 800, 20, 3e-3, "adam"
    batch = 16

    def data(self):
        d = sklearn.datasets.load_digits()
        x, y = (d.images[..., None] / 16 - 0.3).astype(np.float32), d.target.astype(np.int32)
        self.x, self.y, self.vx, self.vy = split(x, y, 800, 12)
        self.y = mislabelled(self.y, 0.1, 10, 12)

    def params(self, key):
        k = jax.random.split(key, 3)
        return dict(
            a=jax.random.normal(k[0], (3, 3, 1, 12)) * 0.4,
            b=jax.random.normal(k[1], (3, 3, 12, 24)) * 0.14,
            o=dense(k[2], 96, 10, 1.0),
        )

    def logits(self, p, x):
        for w in (p["a"], p["b"]):
            dimensions = ("NHWC", "HWIO", "NHWC")
            x = jax.nn.relu(jax.lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=dimensions))
        return aff(p["o"], x.reshape(x.shape[0], -1))


ALL = [DigitsAdam, Attention, Logistic, Spirals, Recurrent, Convolutions]
