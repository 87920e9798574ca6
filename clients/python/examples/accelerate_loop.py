"""accelerate: gradient accumulation over two batches. Each pair of batches is a step of the job."""

import torch
from accelerate import Accelerator
from lrs.accelerate import LRScheduler
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
accelerator = Accelerator(gradient_accumulation_steps=2)
x = torch.randn(512, 8)
batches = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16)
model = torch.nn.Linear(8, 1)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
scheduler = LRScheduler(
    accelerator, optimizer, "examples/accelerate", total_steps=4 * len(batches) // 2, schedule={"cosine": {}}
)

for _ in range(4):
    for inputs, targets in batches:
        with accelerator.accumulate(model):
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            accelerator.backward(loss)
            if scheduler.guard(loss):
                optimizer.step()
            scheduler.step(loss)  # counts updates, not batches
            optimizer.zero_grad()
scheduler.close()
print(f"loss {loss.item():.5f} after {scheduler.last_epoch} updates")
