"""Megatron-LM: a loop like its `train`, with an optimizer of its interface, which runs on a CPU too."""

import torch
from lrs.megatron import OptimizerParamScheduler
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler as MegatronScheduler

STEPS, MICRO_BATCHES, MICRO_BATCH_SIZE = 64, 2, 8


class Optimizer:
    """In a training with Megatron, this is what `get_megatron_optimizer` returns."""

    def __init__(self, parameters):
        self.inner = torch.optim.AdamW(parameters, lr=0.05)
        self.param_groups = self.inner.param_groups

    def step(self):
        """Whether the update was applied, the norm of the gradient, and a count of zeros."""
        norm = torch.nn.utils.get_total_norm([p.grad for group in self.param_groups for p in group["params"]])
        self.inner.step()
        return True, float(norm), None


torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
optimizer = Optimizer(model.parameters())
samples = MICRO_BATCHES * MICRO_BATCH_SIZE
own = MegatronScheduler(
    optimizer,
    init_lr=0.0,
    max_lr=0.05,
    min_lr=0.005,
    lr_warmup_steps=4 * samples,
    lr_decay_steps=STEPS * samples,
    lr_decay_style="cosine",
    start_wd=0.01,
    end_wd=0.01,
    wd_incr_steps=0,
    wd_incr_style="constant",
)
opt_param_scheduler = OptimizerParamScheduler(
    optimizer, "examples/megatron", replaces=own, samples_per_step=samples, total_steps=STEPS
)


def train_step():
    """As Megatron's `train_step`: returns the losses, which it knows after the update."""
    optimizer.inner.zero_grad()
    losses = []
    for _ in range(MICRO_BATCHES):
        x = torch.randn(MICRO_BATCH_SIZE, 8)
        loss = torch.nn.functional.mse_loss(model(x), x.sum(1, keepdim=True))
        (loss / MICRO_BATCHES).backward()
        losses.append(loss.detach())
    applied, *_ = optimizer.step()
    if applied:
        opt_param_scheduler.step(increment=samples)
    return {"lm loss": torch.stack(losses).mean()}


with opt_param_scheduler:
    for _ in range(STEPS):
        loss_dict = train_step()
        opt_param_scheduler.report(loss_dict)  # the line that Megatron's loop gets
print(f"loss {loss_dict['lm loss']:.5f} after {opt_param_scheduler.num_steps} samples")
