"""A study on a real server: trials are jobs, advice prunes them, and the best trial is validated."""

import json
import math
import random
import threading

import optuna
import pytest

import lrs.optuna
from lrs.study import SCHEDULES, Study, controllers_of, schedule_of
from lrs.v1.job_pb2 import ARM_BASELINE, ARM_SCHEDULED, Job
from lrs.v1.job_service_pb2 import CompleteJobRequest, ListDecisionsRequest, ListDecisionsResponse
from server import wait_for

STEPS = 120
SOON = lrs.Options(flush_interval=0.01)


@pytest.fixture(autouse=True)
def _quietly():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def descend(scheduler, seed, after_step):
    """Descend a noisy parabola. Diverges at rates above 1."""
    rng, x = random.Random(seed), 1.0
    for step in range(STEPS):
        x -= scheduler.learning_rate * 2 * (x + 0.1 * rng.gauss(0, 1))
        loss = x * x if abs(x) < 1e100 else math.inf
        scheduler.step(loss)
        after_step(step)
    return loss


def decisions(server, job):
    request = ListDecisionsRequest(job=job, page_size=1000)
    return server.call("JobService/ListDecisions", request, ListDecisionsResponse).decisions


def test_a_study_prunes_what_falls_behind_and_validates_what_is_best(server):
    jobs = lrs.optuna.TrialJobs(
        "optuna/whole", server=server.url, total_steps=STEPS, spec={"commit_ahead": 4}, options=SOON, start_timeout=60
    )

    def objective(trial):
        # Every third trial diverges.
        groups = 1e-6 if trial.number % 3 == 2 and trial.number > 3 else lrs.optuna.suggest_base_lr(trial, 0.1, 0.3)
        schedule = lrs.optuna.suggest_schedule(trial, total_steps=STEPS)
        with lrs.Scheduler(**jobs.options_of(trial, groups=groups, schedule=schedule)) as scheduler:

            def after_step(step):
                if step == 61:
                    at = jobs.job(trial.number)
                    wait_for("the telemetry", lambda: server.job(at).progress.watermark_step >= 60)
                    server.run("sweep", "whole", "-n", "optuna", "--every", "60", "--once")
                jobs.check(trial, scheduler, value=1.0, step=step)

            return descend(scheduler, trial.number, after_step)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=12, callbacks=[jobs])

    pruned = [trial for trial in study.trials if trial.state is optuna.trial.TrialState.PRUNED]
    assert [trial.number for trial in pruned] == [5, 8, 11]
    for trial in study.trials:
        job = server.job(trial.user_attrs["lrs_job"])
        assert job.spec.experiment == "whole"
        assert dict(job.spec.labels) == {"study": "whole", "trial": str(trial.number)}
        assert job.state_author == "study"
        if trial in pruned:
            assert job.state == Job.STATE_CANCELLED
            assert "the median of the means" in job.state_reason
            (advice,) = decisions(server, job.name)
            assert advice.person == "sweep"
            assert advice.evidence["step"] == 60
            assert job.state_reason == advice.reason
        else:
            assert job.state == Job.STATE_COMPLETED
            assert trial.last_step == STEPS - 1

    found = jobs.validate(study, seeds=[7, 8])
    assert found == jobs.validate(study, seeds=[7, 8]), "asked again, the same jobs"
    assert [(job.arm, job.seed) for job in found] == [
        ("ARM_SCHEDULED", 7), ("ARM_BASELINE", 7), ("ARM_SCHEDULED", 8), ("ARM_BASELINE", 8),
    ]  # fmt: skip
    best = server.job(study.best_trial.user_attrs["lrs_job"])
    unscheduled = [trial for trial in study.trials if trial.user_attrs["lrs_unscheduled"] and trial not in pruned]
    tuned = server.job(min(unscheduled, key=lambda trial: trial.value).user_attrs["lrs_job"])
    for job in found:
        spec = server.job(job.name).spec
        assert (spec.experiment, spec.seed) == ("whole-validation", job.seed)
        scheduled = job.arm == "ARM_SCHEDULED"
        assert spec.arm == (ARM_SCHEDULED if scheduled else ARM_BASELINE)
        assert spec.groups[0].base_lr == (best if scheduled else tuned).spec.groups[0].base_lr
        assert spec.schedule == best.spec.schedule if scheduled else spec.schedule.base == 1
        with lrs.Scheduler(job.name, server=server.url, start_timeout=60) as scheduler:
            assert descend(scheduler, job.seed, lambda _: None) < 1
        server.call("JobService/CompleteJob", CompleteJobRequest(name=job.name), Job)
    report = json.loads(server.run("report", "--experiment", "whole-validation", "-n", "optuna", "--json").stdout)
    assert json.dumps(report).count("ARM_SCHEDULED") >= 2


def test_a_trial_that_fails_leaves_a_job_that_failed(server):
    jobs = lrs.optuna.TrialJobs("optuna/failing", server=server.url, total_steps=STEPS)

    def objective(trial):
        with lrs.Scheduler(**jobs.options_of(trial, groups=0.1)) as scheduler:
            scheduler.step(1.0)
            raise RuntimeError("the data is gone")

    study = optuna.create_study()
    study.optimize(objective, n_trials=1, callbacks=[jobs], catch=RuntimeError)
    assert server.job(jobs.job(0)).state == Job.STATE_FAILED
    with pytest.raises(ValueError, match="No trials are completed"):
        jobs.validate(study)


def test_a_study_goes_on_while_the_service_is_away(own_server, caplog):
    jobs = lrs.optuna.TrialJobs("optuna/away", server=own_server.url, total_steps=STEPS, timeout=1)

    def objective(trial):
        with lrs.Scheduler(**jobs.options_of(trial, groups=0.1), start_timeout=60, close_timeout=0.1) as scheduler:
            scheduler.step(1.0)
            own_server.kill()
            return 1.0

    study = optuna.create_study()
    study.optimize(objective, n_trials=1, callbacks=[jobs])
    assert study.best_value == 1.0
    assert "could not be ended" in caplog.text


def test_trials_may_run_at_once(server):
    jobs = lrs.optuna.TrialJobs("optuna/threads", server=server.url, total_steps=STEPS, start_timeout=60)
    seen = set()

    def objective(trial):
        seen.add(threading.get_ident())
        with lrs.Scheduler(**jobs.options_of(trial, groups=0.1)) as scheduler:
            return descend(scheduler, trial.number, lambda _: None)

    study = optuna.create_study()
    study.optimize(objective, n_trials=4, n_jobs=2, callbacks=[jobs])
    assert {server.job(jobs.job(number)).state for number in range(4)} == {Job.STATE_COMPLETED}


def test_an_engine_that_prunes_by_itself_may_advise(server):
    study = Study("optuna/advising", server=server.url, total_steps=STEPS)
    with lrs.Scheduler(**study.options(0, groups=0.1, options=SOON, start_timeout=60)) as scheduler:
        scheduler.step(1.0)
        first = study.advise_stop(0, "worse than the rest", {"value": math.nan})
        assert study.advise_stop(0, "worse than the rest", {"value": math.nan}).name == first.name

        def advised():
            scheduler.step(1.0)
            return scheduler.stop_advice

        assert wait_for("the advice", advised) == "worse than the rest"
    study.end(0, "CANCELLED", "worse than the rest")
    study.end(0, "CANCELLED")
    with pytest.raises(lrs.JobEndedError):
        study.advise_stop(0, "again")


def test_every_schedule_of_a_study_is_one_that_the_service_takes(server):
    parameters = {"floor_share": 0.1, "warmup_share": 0.1, "pct_start": 0.4, "decay_share": 0.95}
    for number, kind in enumerate(SCHEDULES):
        study = Study("optuna/kinds", server=server.url, total_steps=STEPS)
        schedule = schedule_of({"schedule": kind} | parameters, total_steps=STEPS)
        lrs.Scheduler(**study.options(number, groups=1.0, schedule=schedule, start_timeout=60)).close()
        curve = server.preview(server.job(study.job(number)).spec, range(STEPS))
        assert max(curve) <= 1
        if kind != "none":
            assert curve[-1] < 0.2, kind
    assert schedule_of({"schedule": "none"}, total_steps=STEPS) is None
    with pytest.raises(lrs.UsageError, match="no schedule 'cubic'"):
        schedule_of({"schedule": "cubic"}, total_steps=STEPS)


def test_every_controller_of_a_study_is_one_that_the_service_takes(server):
    study = Study("optuna/controllers", server=server.url, total_steps=STEPS)
    for number, kind in enumerate(("none", "auto", "plateau")):
        options = controllers_of({"controller": kind, "factor": 0.5, "patience": 3}, metric="val_loss")
        lrs.Scheduler(**study.options(number, groups=1.0, start_timeout=60, **options)).close()
        assert len(server.job(study.job(number)).spec.controllers) == (0 if kind == "none" else 1)
    with pytest.raises(lrs.UsageError, match="no controller 'guess'"):
        controllers_of({"controller": "guess"})


def test_the_space_asks_only_for_what_the_schedule_has():
    for kind, names in {
        "none": set(),
        "cosine": {"floor_share", "warmup_share"},
        "one_cycle": {"pct_start"},
        "wsd": {"decay_share", "warmup_share"},
    }.items():
        trial = optuna.trial.FixedTrial(
            {"schedule": kind, "floor_share": 0.1, "warmup_share": 0.1, "pct_start": 0.3, "decay_share": 0.3}
        )
        lrs.optuna.suggest_schedule(trial, total_steps=STEPS)
        assert set(trial.params) - {"schedule"} == names
