"""fastai's own schedules, and PyTorch's optimizers in its Learner."""

from functools import partial

import pytest
import torch
from fastai.callback.schedule import Learner
from fastai.optimizer import SGD, OptimWrapper

import lrs
from lrs.fastai import LrsCallback
from trainer_fastai import Trainer, Watch, learner
from training import PATIENT, Model, Run

FITS = {
    "one_cycle": lambda learn, run: learn.fit_one_cycle(run.epochs, 0.1),
    "flat_cos": lambda learn, run: learn.fit_flat_cos(run.epochs, 0.1),
    "sgdr": lambda learn, run: learn.fit_sgdr(2, 1, 0.1),
}


def used(run, fit, opt_func):
    seen = Watch(run)
    learn = learner(Model(), run, [seen], opt_func)
    with learn.no_bar(), learn.no_logging():
        fit(learn, run)
    return seen.used


@pytest.mark.parametrize("opt_func", [SGD, partial(OptimWrapper, opt=torch.optim.SGD)], ids=["fastai", "torch"])
@pytest.mark.parametrize("fit", FITS)
def test_the_schedule_of_fit_is_the_job_s(server, job, fit, opt_func):
    run = Run([1.0] * 4, epochs=3)
    alone = used(run, FITS[fit], opt_func)
    trainer = Trainer()
    trainer.train(server, job, run, opt_func=opt_func, fit=FITS[fit])
    rates = server.record(job)["learning_rate"]
    assert [rates[step] for step in range(len(alone))] == pytest.approx(alone, rel=1e-5, abs=1e-9)
    assert len(set(alone)) > 2


def test_a_finder_of_rates_is_left_alone(server, job):
    callback = LrsCallback(job, server=server.url, **PATIENT)
    learn = learner(Model(), Run([1.0] * 4), [callback])
    assert isinstance(learn, Learner)
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(num_it=4, show_plot=False)
    assert callback.scheduler is None


def test_a_second_fit_goes_on_with_the_curve(server, job):
    callback = LrsCallback(job, server=server.url, schedule={"linear": {}}, **PATIENT)
    learn = learner(Model(), Run([1.0] * 4), [callback])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.1)
        learn.fit(1, 0.1)
    rates = server.record(job)["learning_rate"]
    assert [rates[step] for step in range(4, 8)] == pytest.approx([0.1 * (1 - k / 8) for k in range(4, 8)])
    assert [one.resume_step for one in server.attempts(job)] == [0, 4]


def test_a_learner_is_exported_with_its_callback(server, job, tmp_path):
    callback = LrsCallback(job, server=server.url, **PATIENT)
    learn = learner(Model(), Run([1.0] * 4), [callback])
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, 0.1)
    callback.learn = None
    torch.save(callback, tmp_path / "callback")
    assert torch.load(tmp_path / "callback", weights_only=False).scheduler is None


def test_a_curve_without_words_is_refused(server, job):
    def fit(learn, run):
        from fastai.callback.schedule import ParamScheduler, SchedPoly

        learn.fit(run.epochs, 0.1, cbs=ParamScheduler({"lr": SchedPoly(0.1, 0.01, 2)}))

    with pytest.raises(lrs.UsageError, match="Give the callback `schedule"):
        Trainer().train(server, job, Run([1.0] * 4), fit=fit)
