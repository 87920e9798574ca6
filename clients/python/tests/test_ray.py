"""Groups of two workers of Ray Train, which Ray starts again after a failure."""

import os

os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import json
import sys
from pathlib import Path

import pytest
import ray
import ray.train
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer


@pytest.fixture
def cluster():
    # Workers import what this process imports.
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}},
    )
    yield
    ray.shutdown()


def loop(config):
    import tempfile

    import torch

    from lrs.ray import LRScheduler

    rank = ray.train.get_context().get_world_rank()
    model = ray.train.torch.prepare_model(torch.nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"total_steps": 8, "schedule": "linear", "deadline": 20.0, "close_timeout": 20.0, "tier": 1}
    out = Path(config["out"])
    with LRScheduler(optimizer, config["job"], server=config["server"], **options) as scheduler:
        rates = []
        while scheduler.last_epoch < 8:
            step = scheduler.last_epoch
            if step == 6 and rank == 1 and not (out / "failed").exists():
                (out / "failed").touch()
                raise RuntimeError("on purpose")
            optimizer.zero_grad()
            loss = model(torch.ones(1, 2)).square().mean()
            loss.backward()
            if scheduler.guard(loss):
                optimizer.step()
            rates.append(optimizer.param_groups[0]["lr"])
            scheduler.step(loss)
            if scheduler.last_epoch % 4 == 0:
                with tempfile.TemporaryDirectory() as directory:
                    checkpoint = Checkpoint.from_directory(directory) if rank == 0 else None
                    scheduler.report({"val_loss": 0.5, "epoch": 1}, checkpoint=checkpoint)
    (out / f"{rank}.json").write_text(json.dumps({"rates": rates, "from": 8 - len(rates)}))


def test_a_group_that_ray_starts_again_resumes_as_a_new_attempt(server, job, tmp_path, cluster):
    TorchTrainer(
        loop,
        train_loop_config={"job": job, "server": server.url, "out": str(tmp_path)},
        scaling_config=ScalingConfig(num_workers=2, use_gpu=False),
        run_config=RunConfig(storage_path=str(tmp_path / "storage"), failure_config=FailureConfig(max_failures=1)),
    ).fit()
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert (tmp_path / "failed").exists()
    assert first == second == {"rates": pytest.approx([0.1 * (1 - k / 8) for k in range(4, 8)]), "from": 4}
    assert [(one.attempt, one.resume_step) for one in server.attempts(job)] == [(1, 0), (2, 4)]
    rates = server.record(job)["learning_rate"]
    assert [rates[step] for step in range(8)] == pytest.approx([0.1 * (1 - k / 8) for k in range(8)])
    assert set(server.record(job)["val_loss"].values()) == {0.5}
