"""Open-loop schedules: the rates of a whole run of T steps as an array, from its peak rate."""
import numpy as np

WARM_UP_SHARE = 0.05


def const(T, lr):
    return np.full(T, lr)


def step(T, lr):
    """A tenth at half of the run, a hundredth at three quarters."""
    x = np.arange(T) / T
    return lr * np.where(x < 0.5, 1, np.where(x < 0.75, 0.1, 0.01))


def cosine(T, lr):
    return cosine_without_warm_up(T, lr) * _warm_up(T)


def cosine_without_warm_up(T, lr):
    return lr * 0.5 * (1 + np.cos(np.pi * np.arange(T) / T))


def onecycle(T, lr):
    """Up from lr / 25 over 30% of the run, down to 0 over the rest."""
    x = np.arange(T) / T
    u = np.clip(x / 0.3, 0, 1)
    d = np.clip((x - 0.3) / 0.7, 0, 1)
    up = lr / 25 + (lr - lr / 25) * 0.5 * (1 - np.cos(np.pi * u))
    return np.where(x < 0.3, up, lr * 0.5 * (1 + np.cos(np.pi * d)))


def wsd(T, lr, decay_share=0.2):
    """Warm-up, stable, linear decay."""
    return lr * _warm_up(T) * np.minimum(1, (T - np.arange(T)) / (decay_share * T))


def linear(T, lr):
    return lr * _warm_up(T) * (T - np.arange(T)) / T


def _warm_up(T):
    return np.minimum(1, (np.arange(T) + 1) / max(1, WARM_UP_SHARE * T))


SHAPES = dict(const=const, step=step, cosine=cosine, onecycle=onecycle, wsd=wsd, linear=linear)
