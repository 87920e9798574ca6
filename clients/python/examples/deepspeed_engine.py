"""DeepSpeed: gradient accumulation over two batches, and a scheduler of the configuration, which becomes the job's."""

import os

import deepspeed
import torch
from lrs.deepspeed import LRScheduler
from torch.utils.data import DataLoader, TensorDataset

# One process, which needs no launcher, and on a CPU no kernel that DeepSpeed would compile.
for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
    os.environ.setdefault(name, value)
os.environ.setdefault("MASTER_PORT", "0")
if not torch.cuda.is_available():
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

torch.manual_seed(0)
x = torch.randn(512, 8)
batches = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16)
model = torch.nn.Linear(8, 1)
engine, *_ = deepspeed.initialize(
    model=model,
    optimizer=torch.optim.AdamW(model.parameters(), lr=0.05),
    config={
        "train_micro_batch_size_per_gpu": 16,
        "gradient_accumulation_steps": 2,
        "scheduler": {"type": "WarmupCosineLR", "params": {"total_num_steps": 64, "warmup_num_steps": 4}},
    },
)
with LRScheduler(engine, "examples/deepspeed", total_steps=64):
    for _ in range(4):
        for inputs, targets in batches:
            loss = torch.nn.functional.mse_loss(engine(inputs.to(engine.device)), targets.to(engine.device))
            engine.backward(loss)
            engine.step()
print(f"loss {loss.item():.5f} after {engine.global_steps} updates")
torch.distributed.destroy_process_group()
