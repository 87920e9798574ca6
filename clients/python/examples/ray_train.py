"""Ray Train: two workers. Rank 0 asks the service, and a restarted group of workers resumes as a new attempt."""

import os
import tempfile

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
import ray.train
import torch
from lrs.ray import LRScheduler
from ray.train import Checkpoint, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, prepare_model


def train_loop_per_worker(config):
    """The loop of a worker."""
    torch.manual_seed(ray.train.get_context().get_world_rank())
    model = prepare_model(torch.nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    with LRScheduler(
        optimizer, "examples/ray", server=config["server"], total_steps=64, schedule="cosine", tier=1
    ) as scheduler:
        for _ in range(4):
            for _ in range(16):
                x = torch.randn(16, 8)
                loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
                optimizer.zero_grad()
                loss.backward()
                if scheduler.guard(loss):
                    optimizer.step()
                scheduler.step(loss)
            with tempfile.TemporaryDirectory() as directory:
                is_first = ray.train.get_context().get_world_rank() == 0
                checkpoint = Checkpoint.from_directory(directory) if is_first else None
                scheduler.report({"val_loss": loss.item()}, checkpoint=checkpoint)


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
TorchTrainer(
    train_loop_per_worker,
    train_loop_config={"server": os.environ.get("LRS_SERVER", "http://127.0.0.1:50051")},
    scaling_config=ScalingConfig(num_workers=2, use_gpu=False),
    run_config=RunConfig(storage_path=tempfile.mkdtemp(prefix="lrs-example-ray-")),
).fit()
