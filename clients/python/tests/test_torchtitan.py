"""The schedules of torchtitan's own configuration, and what is left of a Trainer."""

import pytest
from torchtitan.distributed import utils as dist_utils

from trainer_torchtitan import Titan, Trainer
from training import Run

CONFIGURATIONS = {
    "linear": {"warmup_steps": 4},
    "stable": {"warmup_steps": 2, "decay_ratio": 0.3, "decay_type": "sqrt", "min_lr_factor": 0.1},
    "cosine": {"warmup_steps": 0, "decay_ratio": 0.5, "decay_type": "cosine"},
    "short": {"warmup_steps": 1, "total_steps": 8},
    "all_warmup": {"warmup_steps": 200},
}


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_the_configured_schedule_is_the_job_s(server, job, kind):
    run, steps = Run([1.0] * 12), CONFIGURATIONS[kind].get("total_steps", 12)
    alone = Titan(run, [[1.0]] * 12, steps, CONFIGURATIONS[kind])
    alone.train()
    trainer = Trainer()
    trainer.train(server, job, run, steps=steps, configuration=CONFIGURATIONS[kind])
    assert trainer.trainer.used == pytest.approx(alone.used, rel=1e-9)
    assert list(server.record(job)["learning_rate"].values()) == pytest.approx(alone.used, rel=1e-9)
    assert [group.base_lr for group in server.job(job).spec.groups] == [0.1, 0.02]


def test_nothing_is_left_on_the_trainer_or_in_the_library(server, job):
    before = dist_utils.clip_grad_norm_
    trainer = Trainer()
    trainer.train(server, job, Run([1.0] * 3), steps=3)
    assert dist_utils.clip_grad_norm_ is before
    assert not {"train", "forward_backward_step"} & vars(trainer.trainer).keys()
    assert "step" not in vars(trainer.trainer.optimizers)
    assert trainer.trainer.lr_schedulers.get_metrics().keys() == {"lr/AdamW/0", "lr/AdamW/1"}
