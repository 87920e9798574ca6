"""Training workloads: one pure step function, used step by step (closed loop) and in one scan (open loop).

A workload is a class with

  name, T, eval_every                     its name, its number of steps, steps between evaluations
  init(seed)                              starts a run
  step(lr, gscale=1, clip=inf, skip_above=inf) -> (loss, grad_norm, extra)
        Loss and norm are of this step's batch, before the update, which then uses `lr`. `gscale` multiplies the
        gradient (fault injection), `clip` bounds its global norm. An update whose loss or gradient norm is not finite
        is skipped, as every client must do by itself, and one whose norm is greater than `skip_above`, which only
        policies of a trainer that does not clip ask for.
  eval() -> validation loss on the steering rows; score() -> the same on rows that no controller and no tuner sees
  snapshot(), restore(s)                  takes and puts back parameters and optimizer state
  run_open(seed, rates)                   a whole run; optional, anchors.py needs it

`Workload` implements this over JAX: a subclass defines data(), params(key), sample(key), loss(params, batch) and
val(params).
"""
import copy
import math
import os
from functools import partial  # noqa: F401, a set may take it from here with all the rest

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

tmap = jax.tree_util.tree_map

# The value that stands for a validation loss that is not finite.
BAD = 1e30
# The attributes of a workload that may hold its validation rows.
VALIDATION_ROWS = ("vx", "vy", "te")


class Workload:
    name = "?"
    T = 1000
    eval_every = 25
    opt = "sgdm"  # or "adam"
    mu = 0.9  # momentum of "sgdm"
    wd = 0.0  # decoupled weight decay
    max_norm = None  # a clip bound of the workload itself
    lr0 = 0.1  # centre of the grid of the tuned rates

    def __init__(self):
        self.data()
        self._init = jax.jit(self.init_state)
        self._step = jax.jit(self.step_state)
        self._eval, self._score = jax.jit(self.rows(0).val), jax.jit(self.rows(1).val)
        self._scan = jax.jit(self._scan_impl)

    def rows(self, i):
        """This workload with every second validation row from row i on: rows 0, 2, … steer, rows 1, 3, … score."""
        half = copy.copy(self)
        for attribute in VALIDATION_ROWS:
            rows = getattr(self, attribute, None)
            if rows is not None:
                setattr(half, attribute, tuple(x[i::2] for x in rows) if isinstance(rows, tuple) else rows[i::2])
        return half

    # --- the pure part: state is (parameters, optimizer state, key of the data)

    def init_state(self, seed):
        k1, k2 = jax.random.split(jax.random.PRNGKey(seed))
        p = self.params(k1)
        zeros = tmap(jnp.zeros_like, p)
        if self.opt == "sgdm":
            return p, (zeros,), k2
        return p, (zeros, tmap(jnp.zeros_like, p), jnp.zeros((), jnp.float32)), k2

    def step_state(self, state, lr, gscale, clip, skip_above=jnp.inf):
        p, o, key = state
        key, sub = jax.random.split(key)
        # Two halves of the batch, because the gradient noise scale comes from their norms.
        halves = tmap(lambda x: x.reshape((2, x.shape[0] // 2) + x.shape[1:]), self.sample(sub))
        losses, grads = jax.vmap(jax.value_and_grad(self.loss), in_axes=(None, 0))(p, halves)
        loss = jnp.mean(losses)
        g = tmap(lambda x: jnp.mean(x, 0) * gscale, grads)
        g2_small, g2_big = gsq(grads) / 2, gsq(g)
        norm = jnp.sqrt(g2_big)
        is_sound = jnp.isfinite(loss) & jnp.isfinite(norm) & (norm <= skip_above)
        bound = clip if self.max_norm is None else jnp.minimum(clip, self.max_norm)
        factor = jnp.where(norm > bound, bound / (norm + 1e-12), 1.0)
        u, o2 = self._direction(o, tmap(lambda x: x * factor, g))
        u = tmap(lambda u, x: lr * (u + self.wd * x), u, p)
        p2 = tmap(lambda x, u: x - u, p, u)
        p2, o2 = tmap(lambda new, old: jnp.where(is_sound, new, old), (p2, o2), (p, o))
        figures = jnp.stack([loss, norm, g2_small, g2_big, jnp.sqrt(gsq(u)), jnp.sqrt(gsq(p))])
        return (p2, o2, key), figures

    def _direction(self, o, g):
        """The update at rate 1, and the next optimizer state."""
        if self.opt == "sgdm":
            m = tmap(lambda m, x: self.mu * m + x, o[0], g)
            return m, (m,)
        t = o[2] + 1
        m = tmap(lambda m, x: 0.9 * m + 0.1 * x, o[0], g)
        v = tmap(lambda v, x: 0.99 * v + 0.01 * x * x, o[1], g)
        u = tmap(lambda m, v: (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.99**t)) + 1e-8), m, v)
        return u, (m, v, t)

    def _scan_impl(self, seed, rates):
        steer, score = self.rows(0), self.rows(1)

        def block(state, lr):
            state, m = jax.lax.scan(lambda s, r: self.step_state(s, r, 1.0, jnp.inf), state, lr)
            return state, (m[:, 0], steer.val(state[0]), score.val(state[0]))

        blocks = rates.reshape(self.T // self.eval_every, self.eval_every)
        _, (losses, steering, scores) = jax.lax.scan(block, self.init_state(seed), blocks)
        return losses.reshape(-1), steering, scores

    # --- step by step

    def init(self, seed):
        self.st = self._init(seed)  # the name is part of the interface
        self.half = jax.tree_util.tree_leaves(self.sample(jax.random.PRNGKey(0)))[0].shape[0] // 2

    def step(self, lr, gscale=1.0, clip=math.inf, skip_above=math.inf):
        self.st, figures = self._step(self.st, *map(jnp.float32, (lr, gscale, clip, skip_above)))
        loss, norm, g2_small, g2_big, update_norm, param_norm = map(float, np.asarray(figures))
        extra = dict(g2_small=g2_small, g2_big=g2_big, b_small=self.half, b_big=2 * self.half,
                     update_norm=update_norm, param_norm=param_norm)
        return loss, norm, extra

    def eval(self):
        """The validation loss that a controller may see."""
        return _capped(float(self._eval(self.st[0])))

    def score(self):
        """The validation loss on rows that no controller and no tuner sees."""
        return _capped(float(self._score(self.st[0])))

    def snapshot(self):
        return self.st

    def restore(self, snapshot, keep_data_position=True):
        """Restores parameters and optimizer state; the data go on from where they are, unless told otherwise."""
        self.st = (snapshot[0], snapshot[1], self.st[2]) if keep_data_position else snapshot

    # --- a whole run

    def run_open(self, seed, rates):
        """-> losses [T], and steering and scoring validation losses [T / eval_every each]."""
        out = self._scan(seed, jnp.asarray(rates, jnp.float32))
        losses, steering, scores = (np.array(x, np.float64) for x in out)
        steering[~np.isfinite(steering)] = BAD
        scores[~np.isfinite(scores)] = BAD
        return losses, steering, scores


class Classifier(Workload):
    """A classifier: a subclass defines data(), which sets x, y, vx and vy, params(key) and logits(p, x)."""

    batch = 32

    def sample(self, key):
        return pick(key, self.batch, (self.x, self.y))

    def loss(self, p, b):
        return xent(self.logits(p, b[0]), b[1])

    def val(self, p):
        return xent(self.logits(p, self.vx), self.vy)


def _capped(v):
    return v if math.isfinite(v) else BAD


# --- parts of small models


def gsq(tree):
    """The squared norm of all arrays in a tree."""
    return sum(jnp.sum(x * x) for x in jax.tree_util.tree_leaves(tree))


def dense(key, i, o, gain=2.0):
    return dict(w=jax.random.normal(key, (i, o)) * jnp.sqrt(gain / i), b=jnp.zeros(o))


def aff(p, x):
    return x @ p["w"] + p["b"]


def mlp(key, sizes):
    keys = jax.random.split(key, len(sizes) - 1)
    return [dense(k, i, o) for k, i, o in zip(keys, sizes[:-1], sizes[1:])]


def mlp_f(ps, x, act=jax.nn.relu):
    for p in ps[:-1]:
        x = act(aff(p, x))
    return aff(ps[-1], x)


def xent(logits, y):
    return jnp.mean(jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, y[..., None], -1)[..., 0])


def mse(a, b):
    return jnp.mean((a - b) ** 2)


def pick(key, n, arrays):
    """n random rows with replacement, the same rows of each array."""
    i = jax.random.randint(key, (n,), 0, arrays[0].shape[0])
    return tuple(a[i] for a in arrays)


def split(x, y, n_val, seed):
    """-> training x, y and validation x, y."""
    i = np.random.RandomState(seed).permutation(len(x))
    train, val = i[n_val:], i[:n_val]
    return jnp.asarray(x[train]), jnp.asarray(y[train]), jnp.asarray(x[val]), jnp.asarray(y[val])


def mislabelled(y, share, classes, seed):
    """The classes, with this share of them drawn again at random."""
    r = np.random.RandomState(seed)
    y = np.array(y)
    wrong = r.rand(len(y)) < share
    y[wrong] = r.randint(0, classes, wrong.sum())
    return jnp.asarray(y)


def chars(text, vocab=64):
    """ASCII text as identifiers: one for each of its most frequent characters, and one for all others."""
    a = np.frombuffer(text.encode("ascii", "replace"), np.uint8)
    top = np.argsort(-np.bincount(a, minlength=256), kind="stable")[: vocab - 1]
    m = np.full(256, vocab - 1)
    m[top] = np.arange(vocab - 1)
    return m[a].astype(np.int32)
