"""Optimizers of other authors that need no rate, or no schedule: each at its defaults, and as its authors tune it.

The best of three rates is chosen like an anchor's: on the steering rows, over all seeds. Weight decay and momentum are
the workload's.
"""
import functools
from collections.abc import Callable
from dataclasses import dataclass

import dadaptation
import prodigyopt
import schedulefree

import schedules


@dataclass(frozen=True)
class Peer:
    make: Callable  # (workload, parameters, rate) -> the optimizer
    shape: Callable  # (T, rate) -> the rates of all steps
    rates: Callable  # (workload) -> the rates tried


def schedule_free(workload, parameters, rate, warmup_share=0.0):
    warmup_steps = int(warmup_share * workload.T)
    if workload.opt == "sgd":
        return schedulefree.SGDScheduleFree(parameters, lr=rate, momentum=0.9, weight_decay=workload.wd,
                                            warmup_steps=warmup_steps)
    return schedulefree.AdamWScheduleFree(parameters, lr=rate, weight_decay=workload.wd, warmup_steps=warmup_steps)


def prodigy(workload, parameters, rate):
    return prodigyopt.Prodigy(parameters, lr=1.0, weight_decay=workload.wd)


def prodigy_tuned(workload, parameters, rate):
    return prodigyopt.Prodigy(parameters, lr=1.0, weight_decay=workload.wd, d_coef=rate, safeguard_warmup=True,
                              use_bias_correction=True)


def d_adaptation(workload, parameters, rate):
    if workload.opt == "sgd":
        return dadaptation.DAdaptSGD(parameters, lr=1.0, momentum=0.9, weight_decay=workload.wd)
    return dadaptation.DAdaptAdam(parameters, lr=1.0, weight_decay=workload.wd, decouple=True)


def default_rate(workload):
    """That of schedulefree."""
    return 1.0 if workload.opt == "sgd" else 0.0025


def one(shape):
    """The shape with a peak of 1: the optimizer has the rate elsewhere."""
    return lambda T, rate: shape(T, 1.0)


PEERS = dict(
    schedulefree=Peer(schedule_free, schedules.const, lambda w: [default_rate(w)]),
    schedulefree_best=Peer(functools.partial(schedule_free, warmup_share=schedules.WARM_UP_SHARE), schedules.const,
                           lambda w: [default_rate(w) * factor for factor in (0.3, 1, 3)]),
    prodigy=Peer(prodigy, one(schedules.const), lambda w: [1.0]),
    prodigy_best=Peer(prodigy_tuned, one(schedules.cosine_without_warm_up), lambda w: [0.5, 1.0, 2.0]),
    dadapt=Peer(d_adaptation, schedules.const, lambda w: [1.0]),
    dadapt_best=Peer(d_adaptation, schedules.cosine, lambda w: [0.5, 1.0, 2.0]),
)


def measured(workload, peer, seeds, figures):
    """The figures of the best of a peer's rates."""
    tried = []
    for rate in peer.rates(workload):
        make = functools.partial(peer.make, rate=rate)
        runs = [workload.run_open(seed, peer.shape(workload.T, rate), make) for seed in seeds]
        tried.append(figures(rate, runs))
    return min(tried, key=lambda each: each["steer"])
