"""Optimizers of other authors that need no rate, or no schedule: each at its defaults, and as its authors advise.

The advice is that of their packages: Schedule-Free with warm-up and 1 to 10 times the rate of a scheduled AdamW, or 10
to 50 times that of SGD; Prodigy with a cosine and `d_coef` from 0.5 to 2; D-Adaptation with the usual schedule and a
rate about 1. The best of three rates is chosen like an anchor's: on the steering rows, over all seeds. Weight decay and
momentum are the workload's.
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
    rates: Callable  # (workload, the best rate under a cosine) -> the rates tried


def schedule_free(workload, parameters, rate, warmup_share=0.0):
    warmup_steps = int(warmup_share * workload.T)
    if workload.opt == "sgd":
        return schedulefree.SGDScheduleFree(parameters, lr=rate, momentum=0.9, weight_decay=workload.wd,
                                            warmup_steps=warmup_steps)
    return schedulefree.AdamWScheduleFree(parameters, lr=rate, weight_decay=workload.wd, warmup_steps=warmup_steps)


def prodigy(workload, parameters, rate):
    return prodigyopt.Prodigy(parameters, lr=1.0, weight_decay=workload.wd, d_coef=rate)


def d_adaptation(workload, parameters, rate):
    if workload.opt == "sgd":
        return dadaptation.DAdaptSGD(parameters, lr=1.0, momentum=0.9, weight_decay=workload.wd)
    return dadaptation.DAdaptAdam(parameters, lr=1.0, weight_decay=workload.wd, decouple=True)


def default_rate(workload, scheduled):
    """That of schedulefree."""
    return [1.0 if workload.opt == "sgd" else 0.0025]


def above_scheduled(workload, scheduled):
    return [scheduled * factor for factor in ((10, 20, 50) if workload.opt == "sgd" else (1, 3, 10))]


def about_one(workload, scheduled):
    return [0.5, 1.0, 2.0]


def exactly_one(workload, scheduled):
    return [1.0]


def annealed_from_one(T, rate):
    """The rate itself is Prodigy's `d_coef`."""
    return schedules.cosine_without_warm_up(T, 1.0)


PEERS = dict(
    schedulefree=Peer(schedule_free, schedules.const, default_rate),
    schedulefree_best=Peer(functools.partial(schedule_free, warmup_share=schedules.WARM_UP_SHARE), schedules.const,
                           above_scheduled),
    prodigy=Peer(prodigy, schedules.const, exactly_one),
    prodigy_best=Peer(prodigy, annealed_from_one, about_one),
    dadapt=Peer(d_adaptation, schedules.const, exactly_one),
    dadapt_best=Peer(d_adaptation, schedules.cosine, about_one),
)


def measured(workload, peer, scheduled, seeds, figures):
    """The figures of the best of a peer's rates; `scheduled` is the best rate under a cosine with warm-up."""
    tried = []
    for rate in peer.rates(workload, scheduled):
        make = functools.partial(peer.make, rate=rate)
        runs = [workload.run_open(seed, peer.shape(workload.T, rate), make) for seed in seeds]
        tried.append(figures(rate, runs))
    return min(tried, key=lambda each: each["steer"])
