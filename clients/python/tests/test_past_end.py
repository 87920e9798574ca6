"""Trainings that are longer than their job: nobody trains at a rate of 0 without being told."""

import logging

import pytest

import lrs
from trainers import Keras, Lightning, Transformers
from training import Run

LINEAR = {"groups": 0.1, "schedule": "linear", "deadline": 20.0, "complete": False}


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, "lrs")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "lrs"]


def test_the_first_step_past_the_end_is_warned_of_once(server, job, warnings):
    with lrs.Scheduler(job, server=server.url, total_steps=10, **LINEAR) as scheduler:
        for _ in range(10):
            scheduler.step(1.0)
        scheduler.log(val_loss=1.0)  # an evaluation after the last step
        assert warnings() == []
        scheduler.step(1.0)
        (text,) = warnings()
        assert f"Step 10 of namespaces/test/jobs/{job.partition('/')[2]} is past its total_steps = 10" in text
        assert "at the rate 0." in text
        assert f"`lrs job update {job} --set spec.total_steps=N`" in text
        for _ in range(20):
            scheduler.step(1.0)
    assert len(warnings()) == 1
    assert list(server.record(job)["loss"]) == list(range(31))


def test_epochs_and_a_registered_length_have_an_end_too(server, job, warnings):
    epochs = {"target_epochs": 2.5, "steps_per_epoch": 5}
    lrs.Scheduler(job, server=server.url, **epochs, **LINEAR).close()
    with lrs.Scheduler(job, server=server.url, deadline=20.0, complete=False) as scheduler:
        assert scheduler.total_steps == 13
        for _ in range(13):
            scheduler.step(1.0)
        assert warnings() == []
        scheduler.step(1.0)
    assert len(warnings()) == 1


def test_a_job_that_was_extended_meanwhile_is_warned_of_at_its_new_end(server, job, warnings):
    with lrs.Scheduler(job, server=server.url, total_steps=10, **LINEAR) as scheduler:
        for _ in range(10):
            scheduler.step(1.0)
        server.run("job", "update", job, "--set", "spec.total_steps=20")
        for _ in range(10):
            scheduler.step(1.0)
        assert warnings() == []
        scheduler.log(val_loss=0.5)  # belongs to the new last step
        scheduler.step(1.0)
        assert "total_steps = 20" in warnings()[0]
        scheduler.step(1.0)
    assert len(warnings()) == 1
    record = server.record(job)
    assert list(record["loss"]) == list(range(22))


def test_a_training_without_the_service_is_warned_of_too(own_server, job, warnings):
    url = own_server.url
    own_server.kill()
    with lrs.Scheduler(job, server=url, start_timeout=0.1, close_timeout=0.0, total_steps=3, **LINEAR) as scheduler:
        for _ in range(6):
            scheduler.step(1.0)
    assert sum("past its total_steps = 3" in text for text in warnings()) == 1


SHORT = [{"total_steps": 2}, {"total_steps": "1ep"}, {"target_epochs": 1}, {"spec": {"totalSteps": 2}}]


@pytest.mark.parametrize("options", SHORT, ids=str)
@pytest.mark.parametrize("driver", [Keras, Transformers, Lightning])
def test_a_callback_warns_at_the_start_of_a_job_that_is_too_short(server, job, tmp_path, warnings, driver, options):
    where = {} if driver is Keras else {"directory": tmp_path}
    driver().train(server, job, Run([1.0] * 2, epochs=3, options=options), **where)
    told = [text for text in warnings() if "total_steps" in text]
    assert len(told) == 2
    assert "has total_steps = 2, but this trainer makes 6 updates" in told[0]
    assert "--set spec.total_steps=6`" in told[0]
    assert "Step 2 of" in told[1]
    assert server.job(job).spec.total_steps == 2


@pytest.mark.parametrize("options", [{}, {"total_steps": "3ep"}, {"total_steps": 100}], ids=str)
@pytest.mark.parametrize("driver", [Keras, Transformers, Lightning])
def test_a_callback_does_not_warn_of_a_job_that_is_long_enough(server, job, tmp_path, warnings, driver, options):
    where = {} if driver is Keras else {"directory": tmp_path}
    driver().train(server, job, Run([1.0] * 2, epochs=3, options=options), **where)
    assert [text for text in warnings() if "total_steps" in text] == []
