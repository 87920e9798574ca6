"""Policies in the trainer's own process: the arms that the service is compared with, and the interface of a policy.

A policy is made with (T, lr0, eval_every): the steps of the run, the user's rate, and the steps between evaluations.
Then, for each step k from 0:

  next(k) -> {"lr": rate, "clip": bound of the gradient's norm, "act": None | ("snap", id) | ("restore", id)}
        The directive of step k; the act is carried out before the step. Uses no telemetry of step k or later. May also
        have "acts", all acts in order; a harness that knows "acts" reads it in place of "act". May also have
        "skip_above": an update whose gradient norm is greater is skipped.
  observe(k, loss, grad_norm, extra)      after the step
  observe_val(k, v)                       after an evaluation at the end of step k, which follows observe(k, ...)
  checkpoint(), restart(k, checkpoint)    what a trainer's checkpoint has of the policy; going on from it with step k
"""
import copy
import math

from schedules import SHAPES

INF = math.inf


class Policy:
    """The user's rate throughout: training without any schedule."""

    def __init__(self, T, lr0, eval_every):
        self.T, self.lr0, self.ee = T, lr0, eval_every
        self.setup()

    def setup(self):
        pass

    def next(self, k):
        return dict(lr=self.lr0, clip=INF, act=None)

    def observe(self, k, loss, grad_norm, extra):
        pass

    def observe_val(self, k, v):
        pass

    def checkpoint(self):
        return copy.deepcopy(vars(self))

    def restart(self, k, checkpoint):
        vars(self).update(copy.deepcopy(checkpoint))


class Open(Policy):
    """A schedule whose peak is the user's rate."""

    shape = "const"

    def setup(self):
        self.rates = SHAPES[self.shape](self.T, self.lr0)

    def next(self, k):
        return dict(lr=self.rates[k], clip=INF, act=None)


class Const(Open):
    shape = "const"


class Cosine(Open):
    shape = "cosine"


class WSD(Open):
    shape = "wsd"


class Linear(Open):
    shape = "linear"


class Plateau(Policy):
    """torch.optim.lr_scheduler.ReduceLROnPlateau on the validation loss, with its defaults."""

    factor, patience = 0.1, 10

    def setup(self):
        self.lr, self.best, self.bad = self.lr0, INF, 0

    def next(self, k):
        return dict(lr=self.lr, clip=INF, act=None)

    def observe_val(self, k, v):
        if v < self.best * (1 - 1e-4):
            self.best, self.bad = v, 0
        else:
            self.bad += 1
        if self.bad > self.patience:
            reduced = self.lr * self.factor
            if self.lr - reduced > 1e-8:
                self.lr = reduced
            self.bad = 0


class PlateauFast(Plateau):
    """The same with less patience and a milder cut."""

    factor, patience = 0.5, 2


class Greedy(Policy):
    """GreedyLR of transformers 5.24.0 on the training loss at every update, with its defaults."""

    factor, patience, threshold, reset_start, min_lr, max_lr = 0.95, 10, 1e-6, 500, 1e-3, 1.0

    def setup(self):
        self.lr, self.best, self.good, self.bad, self.waits = self.lr0, INF, 0, 0, self.reset_start

    def next(self, k):
        return dict(lr=self.lr, clip=INF, act=None)

    def observe(self, k, loss, grad_norm, extra):
        if loss < self.best - self.threshold:
            self.best, self.good, self.bad = loss, self.good + 1, 0
        else:
            self.good, self.bad = 0, self.bad + 1
        if self.good > self.patience:
            self._move(min(self.lr / self.factor, self.max_lr), up=True)
        elif self.bad > self.patience:
            self._move(max(self.lr * self.factor, self.min_lr), up=False)

    def _move(self, rate, up):
        """A bound on the wrong side of the rate moves nothing."""
        self.good = self.bad = 0
        if abs(rate - self.lr) > 1e-8 and (rate > self.lr) == up:
            self.lr = rate
        if up:
            self.waits = self.reset_start
        elif self.lr <= self.min_lr:
            self.waits -= 1
            if self.waits <= 0:
                self.setup()


class Lagged:
    """A policy whose directive for step k sees telemetry of steps up to k - lag only. A lag of 1 changes nothing."""

    def __init__(self, policy, lag):
        self.policy, self.lag, self.waiting = policy, lag, []

    def next(self, k):
        while self.waiting and self.waiting[0][1][0] <= k - self.lag:
            method, arguments = self.waiting.pop(0)
            getattr(self.policy, method)(*arguments)
        return self.policy.next(k)

    def observe(self, *arguments):
        self.waiting.append(("observe", arguments))

    def observe_val(self, *arguments):
        self.waiting.append(("observe_val", arguments))
