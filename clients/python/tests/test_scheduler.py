"""The core against the real server."""

import contextlib
import logging
import math
import re

import numpy
import pytest
import torch

import lrs
from lrs.v1.job_pb2 import JobSpec, ParameterGroup
from lrs.v1.schedule_pb2 import Schedule
from server import wait_for

PLATEAU = [{"reduce_lr_on_plateau": {"metric": "loss", "patience": 5, "factor": 0.5}}]
PATIENT = lrs.Options(flush_interval=0.01)


def make(server, job, **more):
    return lrs.Scheduler(job, **({"server": server.url, "groups": 0.1, "deadline": 20.0, "options": PATIENT} | more))


def cosine(steps):
    schedule = Schedule()
    schedule.cosine.SetInParent()
    return JobSpec(groups=[ParameterGroup(name="default", base_lr=0.1)], total_steps=steps, schedule=schedule)


def test_every_step_gets_the_rate_of_the_schedule_and_is_on_record(server, job):
    with make(server, job, total_steps=300, schedule={"cosine": {}}) as scheduler:
        used = []
        for step in range(300):
            used.append(scheduler.learning_rate)
            scheduler.step(loss=1.0 / (1 + step), grad_norm=2.0, metrics={"accuracy": 0.5} if step % 10 == 0 else None)
    assert used == server.preview(cosine(300), range(300))
    record = server.record(job)
    assert record["learning_rate"] == dict(enumerate(used))
    assert record["loss"] == {step: 1.0 / (1 + step) for step in range(300)}
    assert record["accuracy"] == dict.fromkeys(range(0, 300, 10), 0.5)
    assert scheduler.fallback_steps.count == 0
    assert "lrs_fallback" not in record


@pytest.mark.parametrize("lag", [1, 8])
def test_a_controller_sees_the_loss_and_lowers_the_rate(server, job, lag):
    with make(server, job, controllers=PLATEAU, decision_lag=lag) as scheduler:
        rates = [scheduler.learning_rate]
        for _ in range(50):
            rates += scheduler.step(1.0).rates
    assert rates[0] == 0.1
    assert rates[-1] < 0.01
    assert scheduler.fallback_steps.count == 0
    assert rates.index(0.05) == 6 + lag, "six bad steps, and the lag"
    # The same telemetry gives the same decisions.
    assert server.run("replay", job).returncode == 0


def test_a_job_that_exists_is_attached_to(server, job, caplog):
    make(server, job, total_steps=100, schedule={"cosine": {}}).close()
    with lrs.Scheduler(job, server=server.url) as second:
        assert second.learning_rate == 0.1
        assert second.attempt == 1
    assert not caplog.records
    with make(server, job, total_steps=50, schedule={"cosine": {}}) as third:
        assert third.directive.rates == (0.1,)
    assert "is registered with total_steps = 100" in caplog.text


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"groups": 0.2}, "the base rates {'default': 0.1}, which hold; this trainer asked for {'default': 0.2}"),
        ({"schedule": {"linear": {}}}, "schedule = {'cosine': {}}, which holds; this trainer asked for {'linear': {}}"),
        ({"controller": "auto"}, "controllers = "),
        ({"seed": 7}, "seed = none, which holds; this trainer asked for 7"),
        ({"labels": {"team": "vision"}}, "labels = "),
        ({"experiment": "digits"}, "experiment = none, which holds; this trainer asked for digits"),
        ({"arm": "baseline"}, "arm = none"),
        ({"decision_lag": 8}, "decision_lag = 1, which holds; this trainer asked for 8"),
        ({"tier": 2}, "tier = 0, which holds; this trainer asked for 2"),
        ({"steps_per_epoch": 7}, "steps_per_epoch = none"),
        ({"spec": {"rate_limits": {"max_lr": 1}}}, "rate_limits = none"),
        ({"spec": {"objective": {"metric": "val"}}}, "objective = none"),
        ({"spec": {"commit_ahead": 8}}, "commit_ahead = 64, which holds; this trainer asked for 8"),
        ({"spec": {"display_name": "another"}}, "display_name = none, which holds"),
    ],
)
def test_what_a_registered_job_has_otherwise_is_said(server, job, caplog, asked, says):
    plain = {"total_steps": 100, "schedule": {"cosine": {}}}
    make(server, job, **plain).close()
    make(server, job, **plain).close()
    assert not caplog.records
    make(server, job, **(plain | asked)).close()
    assert "is registered with " in caplog.text
    assert says in caplog.text


def test_a_training_that_is_longer_than_its_job_is_refused_until_the_job_is_extended(server, job):
    linear = {"schedule": {"linear": {}}}
    with make(server, job, total_steps=100, **linear) as first:
        for _ in range(90):
            first.step(1.0)
        state = first.state_dict()
    with pytest.raises(lrs.UsageError, match=r"`lrs job update .* --set spec\.total_steps=200`"):
        make(server, job, total_steps=200, **linear)
    changed = server.run("job", "update", job, "--set", "spec.total_steps=200")
    assert re.search(r"Changed the spec of .*, from step \d+ on", changed.stdout), changed.stdout
    with make(server, job, total_steps=200, **linear) as second:
        second.load_state_dict(state)
        assert second.learning_rate == pytest.approx(0.1 * (1 - 90 / 200))


def test_a_world_that_has_shrunk_says_so_and_a_missing_rank_is_named(server, job, caplog, monkeypatch):
    spec = {"reporting_ranks": 2}
    with make(server, job, total_steps=100, spec=spec, deadline=0.01) as alone:
        wait_for("the missing rank", lambda: alone.step(1.0) and "rank 1 of 2 has not reported step 0" in caplog.text)
        state = alone.state_dict() | {"step": 0}
    monkeypatch.setenv("WORLD_SIZE", "1")
    with lrs.Scheduler(job, server=server.url, deadline=20.0, options=PATIENT) as shrunk:
        shrunk.load_state_dict(state)
        for _ in range(20):
            shrunk.step(1.0)
        assert shrunk.fallback_steps.count == 0
    assert server.attempts(job)[-1].reporting_ranks == 1


def test_a_resume_past_the_end_of_the_schedule_is_refused(server, job):
    make(server, job, total_steps=10).close()
    with (
        lrs.Scheduler(job, server=server.url, resume_step=10) as past,
        pytest.raises(lrs.ResumeError, match="is over at step 10"),
    ):
        past.load_state_dict({"version": 1, "job": past.job, "attempt": 0, "step": 10, "rates": [0.1]})


def test_an_evaluation_belongs_to_the_step_that_follows_and_the_last_one_is_not_lost(server, job):
    with make(server, job, total_steps=10) as scheduler:
        for step in range(4):
            scheduler.step(0.5)
            if step % 2 == 1:
                scheduler.log(val_loss=step)
    record = server.record(job)
    assert record["val_loss"] == {2: 1.0, 4: 3.0}
    assert sorted(record["loss"]) == [0, 1, 2, 3]


def test_non_finite_metrics_are_data(server, job):
    with make(server, job, total_steps=10) as scheduler:
        for loss in (math.nan, math.inf, 1.0):
            scheduler.step(loss)
    record = server.record(job)["loss"]
    assert math.isnan(record[0])
    assert (record[1], record[2]) == (math.inf, 1.0)


def test_an_override_reaches_the_trainer(server, job):
    with make(server, job, total_steps=100_000) as scheduler:
        scheduler.step(0.5)
        server.run("job", "override", job, "--factor", "0.5", "--reason", "a test")

        def overridden():
            return scheduler.step(0.5).rates[0] == 0.05

        wait_for("the override", overridden)
    assert scheduler.fallback_steps.count == 0


def test_named_groups_have_rates_of_their_own(server, job):
    with make(server, job, groups={"backbone": 0.1, "head": 0.2}, total_steps=10, schedule={"linear": {}}) as scheduler:
        assert scheduler.learning_rates == {"backbone": 0.1, "head": 0.2}
        scheduler.step(0.5)
        backbone, head = scheduler.directive.rates
        assert head == 2 * backbone < 0.2
    with pytest.raises(lrs.UsageError, match="has the parameter groups"):
        make(server, job, groups={"other": 0.1}, total_steps=10)


def test_momentum_comes_where_the_job_schedules_it(server, job):
    groups = [{"name": "default", "base_lr": 0.1, "base_momentum": 0.9}]
    spec = {"groups": groups, "total_steps": 10, "momentum_schedule": {"base": 1}}
    with make(server, job, groups=None, spec=spec) as scheduler:
        assert scheduler.directive.momenta == (0.9,)
        assert scheduler.step(0.5).momenta == (0.9,)


class TestCheckpoints:
    def test_training_resumes_at_the_step_of_the_checkpoint_in_a_new_attempt(self, server, job):
        with make(server, job, controllers=PLATEAU) as first:
            for _ in range(20):
                first.step(1.0)
            state = first.state_dict()
            expected = first.learning_rate
            for _ in range(5):
                first.step(7.0)
        with make(server, job) as second:
            second.load_state_dict(state)
            assert (second.attempt, second.next_step, second.learning_rate) == (2, 20, expected)
            second.step(3.0)
        losses = server.record(job)["loss"]
        assert losses == {**dict.fromkeys(range(20), 1.0), 20: 3.0}

    def test_the_same_checkpoint_may_be_resumed_again_and_again(self, server, job):
        with make(server, job, total_steps=100) as first:
            for _ in range(10):
                first.step(1.0)
            state = first.state_dict()
        for attempt in (2, 3):
            with make(server, job) as later:
                later.load_state_dict(state)
                assert later.attempt == attempt
                later.step(0.5)

    def test_a_checkpoint_of_a_history_that_was_left_is_refused_with_the_reason(self, server, job, caplog):
        with make(server, job, total_steps=100) as first:
            states = []
            for _ in range(10):
                first.step(1.0)
                states.append(first.state_dict())
        with make(server, job) as second:
            second.load_state_dict(states[4])
            second.step(0.5)
        with (
            make(server, job) as third,
            pytest.raises(lrs.ResumeError, match=r"attempt 2 .* from step 5 on") as refused,
        ):
            third.load_state_dict(states[9])
        assert refused.value.reason == "OTHER_HISTORY"
        assert len(server.attempts(job)) == 2, "nothing was begun"
        assert "Training goes on" not in caplog.text

    def test_a_checkpoint_of_another_job_is_refused(self, server, job):
        with make(server, job, total_steps=10) as first:
            state = first.state_dict()
        with make(server, job + "-b", total_steps=10) as other, pytest.raises(lrs.ResumeError, match="fork"):
            other.load_state_dict(state)

    def test_a_state_comes_before_the_first_step(self, server, job):
        with make(server, job, total_steps=10) as scheduler:
            state = scheduler.state_dict()
            scheduler.step(0.5)
            with pytest.raises(lrs.UsageError, match="before the first step"):
                scheduler.load_state_dict(state)
            with pytest.raises(lrs.UsageError, match="state_dict"):
                make(server, job).load_state_dict({"epoch": 3})
            with pytest.raises(lrs.UsageError, match="state_dict"):
                make(server, job).load_state_dict(None)


class TestWrongUse:
    def test_an_unknown_job(self, server):
        with pytest.raises(lrs.JobNotFoundError, match="lrs job register") as refused:
            lrs.Scheduler("test/nowhere", server=server.url)
        assert (refused.value.code, refused.value.reason) == ("NOT_FOUND", "JOB_NOT_FOUND")

    @pytest.mark.parametrize("name", ["", "a/b/c", "namespaces/a/jobs/", "-a", "a b", "x" * 64])
    def test_a_name_that_is_none(self, name):
        with pytest.raises(lrs.UsageError, match="is not a job's name"):
            lrs.Scheduler(name)

    def test_a_job_that_has_ended(self, server, job):
        make(server, job, total_steps=10).close()
        server.run("job", "complete", job)
        with pytest.raises(lrs.JobEndedError, match="fork"):
            make(server, job, total_steps=10)

    def test_a_job_that_ends_while_it_trains_does_not_stop_the_training(self, server, job, caplog):
        with make(server, job, total_steps=1000) as scheduler:
            scheduler.step(0.5)
            server.run("job", "complete", job)
            wait_for("the refusal", lambda: scheduler.step(0.5) and scheduler.refusal)
            assert isinstance(scheduler.refusal, lrs.JobEndedError)
            assert scheduler.step(0.5).rates == (0.1,)
        assert len(caplog.records) == 1
        assert "has ended: it is COMPLETED. Train under a new job name" in caplog.text

    def test_a_refusal_in_the_log_is_a_sentence_before_the_next(self, server, job, caplog):
        make(server, job, total_steps=10, attempt_token="once").directive  # noqa: B018
        for strict in (False, True):
            caplog.clear()
            ranks = lrs.Options(reporting_ranks=2)
            second = make(server, job, attempt_token="once", options=ranks, strict=strict)
            with contextlib.suppress(lrs.RefusedError):
                second.directive  # noqa: B018
            (text,) = [record.getMessage() for record in caplog.records if "with this token" in record.getMessage()]
            assert ("has. Training goes on" in text) is not strict
            assert text.endswith("has." if strict else "known.")

    def test_a_spec_that_makes_no_sense(self, server, job):
        with pytest.raises(lrs.RefusedError, match="total_steps"):
            make(server, job, total_steps=-5)
        with pytest.raises(lrs.UsageError, match="no_such_form"):
            make(server, job, total_steps=5, schedule={"no_such_form": {}})
        with pytest.raises(lrs.UsageError, match="base learning rate"):
            make(server, job, groups=None, total_steps=5)

    @pytest.mark.parametrize("value", ["0.5", object(), [0.5], 1j])
    def test_a_loss_that_is_no_number(self, server, job, value):
        with make(server, job, total_steps=10) as scheduler:
            with pytest.raises(lrs.MetricError, match="loss must be one number"):
                scheduler.step(value)
            assert scheduler.next_step == 0

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"groups": "fast"}, "base learning rate of 'default' must be a finite number"),
            ({"groups": True}, "base learning rate of 'default' must be a finite number"),
            ({"groups": {"head": None}}, "base learning rate of 'head' must be a finite number"),
            ({"groups": [0.1, 0.2]}, "write groups=0.1, or"),
            ({"arm": "control"}, "arm: 'control' is not allowed here: there are scheduled, baseline"),
            ({"arm": 5}, "arm: 5 is not allowed here"),
            ({"schedule": "cosin"}, "schedule: 'cosin' is not allowed here: did you mean 'cosine'?"),
            ({"schedule": 5}, "schedule: 5 is not allowed here"),
            ({"controllers": "atuo"}, r"controllers: 'atuo' is not allowed here: did you mean 'auto'"),
            ({"labels": ["a"]}, "labels: .* write names and values"),
            ({"spec": "cosine"}, "spec must be the fields"),
            ({"spec": {"groups": [{"base_rl": 1}]}}, r"groups\[0\].base_rl: .* did you mean 'base_lr'"),
            ({"total_steps": "many"}, "total_steps: 'many' is not a length: write a number of steps"),
            ({"total_steps": 2**70}, "total_steps: .* write a whole number of at most"),
            ({"tier": "x"}, "tier must be a whole number"),
            ({"strict": "yes"}, "strict must be True or False"),
            ({"options": {"deadline": 1}}, r"options must be lrs\.Options"),
            ({"attempt_token": 5}, "attempt_token must be a text"),
            ({"attempt_token": "x" * 201}, "at most 200 characters"),
            ({"deadline": "50ms"}, "deadline must be a number of seconds, such as 0.05"),
            ({"deadline": True}, "deadline must be a number of seconds"),
            ({"deadline": -1}, "at least 0 seconds"),
            ({"resume_step": 2.5}, "resume_step must be a whole number"),
            ({"resume_step": -1}, "at least 0"),
        ],
    )
    def test_an_argument_that_cannot_be_right(self, server, options, says):
        with pytest.raises(lrs.UsageError, match=says):
            make(server, "a/b", **({"total_steps": 10} | options))

    def test_an_address_that_is_no_string(self):
        with pytest.raises(lrs.UsageError, match="server must be a text such as"):
            lrs.Scheduler("a", server=50051)

    def test_a_job_s_name_that_is_no_string(self):
        with pytest.raises(lrs.UsageError, match="such as `namespace/job`"):
            lrs.Scheduler(None)

    def test_what_would_spoil_a_report(self, server, job):
        with make(server, job, total_steps=10) as scheduler:
            for wrong in ("0.1", [0.1], object()):
                with pytest.raises(lrs.MetricError, match="learning_rate must be one number"):
                    scheduler.step(0.5, learning_rate=wrong)
            with pytest.raises(lrs.MetricError, match="loss must be one number"):
                scheduler.step(10**400)
            with pytest.raises(lrs.UsageError, match="step must be a whole number"):
                scheduler.step(0.5, step=1.5)
            with pytest.raises(lrs.StepError, match="at most"):
                scheduler.step(0.5, step=1 << 60)
            with pytest.raises(lrs.UsageError, match="map names to numbers"):
                scheduler.step(0.5, metrics=[("accuracy", 1.0)])
            scheduler.step(0.5)
        assert server.record(job)["loss"] == {0: 0.5}

    def test_a_step_after_the_end_is_said_once(self, server, job, caplog):
        with make(server, job, total_steps=10) as scheduler:
            scheduler.step(0.5)
        for _ in range(3):
            assert scheduler.step(0.5).rates == (0.1,)
        assert len(caplog.records) == 1
        assert "Step 1 of namespaces/test/jobs/" in caplog.text
        assert "after close()" in caplog.text

    def test_a_step_that_goes_back(self, server, job):
        with make(server, job, total_steps=10) as scheduler:
            scheduler.step(0.5, step=3)
            with pytest.raises(lrs.StepError, match="begins a new attempt"):
                scheduler.step(0.5, step=3)
            scheduler.step(0.25)
        assert server.record(job)["loss"] == {3: 0.5, 4: 0.25}

    def test_a_token_of_another_step(self, server, job):
        make(server, job, total_steps=10, attempt_token="once").directive  # noqa: B018
        second = make(server, job, attempt_token="once", resume_step=5, strict=True)
        with pytest.raises(lrs.RefusedError, match="attempt_token of its own"):
            second.directive  # noqa: B018

    @pytest.mark.parametrize(
        "address",
        [
            "ftp://x:1",
            "host",
            "http://host",
            "http://h:99999",
            "http://h:0",
            "http://h:1/path",
            "a b:1",
            "http://u:s3cret@h:1",
        ],
    )
    def test_an_address_that_is_none(self, address, monkeypatch):
        with pytest.raises(lrs.UsageError, match=r"server: .* http://HOST:PORT") as refused:
            lrs.Scheduler("a", server=address)
        monkeypatch.setenv("LRS_SERVER", address)
        with pytest.raises(lrs.UsageError, match=r"LRS_SERVER: .* http://HOST:PORT") as of_variable:
            lrs.Scheduler("a")
        assert "s3cret" not in str(refused.value) + str(of_variable.value)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"deadlin": 1}, "did you mean 'deadline'?"),
            ({"plan_steps": "x"}, "plan_steps must be a whole number from 1 to 65536, and was 'x'"),
            ({"plan_steps": 1.5}, "plan_steps must be a whole number"),
            ({"max_unacknowledged": 0}, "max_unacknowledged must be a whole number of at least 1"),
            ({"max_spill_bytes": "1GiB"}, "max_spill_bytes must be a whole number of at least 0"),
            ({"rank": -1}, "rank must be a whole number from 0 to 65535"),
            ({"reporting_ranks": 0}, "reporting_ranks must be a whole number from 1"),
            ({"call_timeout": 0}, "call_timeout must be more than 0 seconds"),
            ({"backoff": 5}, r"backoff must be lrs\.Backoff"),
            ({"backoff": lrs.Backoff("x", 1)}, r"backoff must be lrs\.Backoff"),
            ({"metadata": [("a", 5)]}, "metadata must be pairs of texts"),
            ({"metadata": 5}, "metadata must be pairs of texts"),
            ({"credentials": "x"}, "credentials must be what grpc.ssl_channel_credentials"),
            ({"spill_directory": "/nowhere"}, "spill_directory must be a directory that is there"),
        ],
    )
    def test_a_setting_that_cannot_be_right(self, options, says):
        with pytest.raises(lrs.UsageError, match=says):
            lrs.Options(**options)


class TestWhatMeansTheSame:
    @pytest.mark.parametrize(
        "asked",
        [
            {"groups": numpy.float64(0.1), "total_steps": numpy.int64(10), "seed": numpy.int32(3)},
            {
                "groups": torch.tensor(0.1, dtype=torch.float64),
                "total_steps": torch.tensor(10),
                "seed": torch.tensor([3]),
            },
            {"groups": "0.1", "total_steps": "1e1", "seed": "3"},
            {"groups": {"default": numpy.array(0.1)}, "total_steps": 10.0, "seed": 3.0},
            {"schedule": "Cosine", "controller": "AUTO", "arm": "Baseline"},
            {"schedule": {"cosine": {}}, "controller": {"auto": {}}, "arm": "ARM_BASELINE"},
            {"schedule": "cosine", "controllers": "auto", "arm": 2, "labels": None},
            {
                "deadline": numpy.float32(0.5),
                "tier": numpy.int8(0),
                "resume_step": numpy.int64(0),
                "strict": numpy.bool_(False),
            },
        ],
    )
    def test_is_registered_as_the_same_spec(self, server, job, caplog, asked):
        same = {"total_steps": 10, "groups": 0.1, "seed": 3, "schedule": {"cosine": {}}, "controllers": [{"auto": {}}]}
        same |= {"arm": "baseline"}
        make(server, job, **same).close()
        controllers = {} if "controller" not in asked else {"controllers": None}
        make(server, job, **(same | controllers | asked)).close()
        assert not caplog.records

    def test_an_address_from_a_file_of_variables(self, server, job, monkeypatch):
        monkeypatch.setenv("LRS_SERVER", f'"{server.url}"\n')
        monkeypatch.setenv("LRS_NAMESPACE", "'test'")
        with lrs.Scheduler(job.partition("/")[2] + "\n", groups=0.1, total_steps=5) as scheduler:
            assert (scheduler.server, scheduler.job) == (server.url, f"namespaces/{job.replace('/', '/jobs/')}")

    def test_a_newer_attempt_ends_the_older_ones_say(self, server, job, caplog):
        with make(server, job, total_steps=1000) as old:
            old.step(0.5)
            with make(server, job) as new:
                new.step(0.5)
                wait_for("the refusal", lambda: old.step(0.5) and old.refusal)
        assert "newer attempt" in str(old.refusal)


def test_the_address_and_the_namespace_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("LRS_SERVER", server.url)
    monkeypatch.setenv("LRS_NAMESPACE", "from-the-environment")
    with lrs.Scheduler("named", groups=0.1, total_steps=5) as scheduler:
        assert scheduler.job == "namespaces/from-the-environment/jobs/named"
        assert scheduler.learning_rate == 0.1


def test_in_steady_state_nothing_is_logged(server, job, caplog):
    caplog.set_level(logging.INFO)
    with make(server, job, total_steps=100) as scheduler:
        for _ in range(100):
            scheduler.step(0.5)
    assert not caplog.records
