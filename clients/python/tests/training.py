"""What the trainers of the contract's suite have in common: a run, and a model whose loss is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

PATIENT = {"deadline": 20.0, "close_timeout": 20.0}


@dataclass
class Run:
    """What a trainer does."""

    losses: list[float]
    """The loss of each batch of an epoch."""
    epochs: int = 1
    accumulation: int = 1
    with_scaler: bool = False
    with_loss: bool = True
    evaluate: list[float] = field(default_factory=list)
    """The validation loss after each epoch."""
    fail_at: int | None = None
    """The batch at which an exception is raised."""
    stop_after: int | None = None
    """The number of updates after which the trainer is stopped."""
    grow_at: int | None = None
    """The number of updates after which a parameter group is added."""
    checkpoint: Any = None
    """The checkpoint to resume from."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the scheduler or callback."""


class FailureError(Exception):
    """Raised in the middle of a training."""


class Model(torch.nn.Module):
    """A model whose loss is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.frozen = torch.nn.Parameter(torch.ones(1))

    def forward(self, x, labels=None, **more):
        loss = (x.mean() * (1 + (self.weight - self.weight.detach()))).sum()
        return {"loss": loss} if labels is None else {"loss": loss, "logits": x}


def scaler():
    return torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=10**6)


def grouped(losses, accumulation):
    return [losses[at : at + accumulation] for at in range(0, len(losses), accumulation)]


def windows(losses, accumulation):
    """The mean loss of each window of an epoch."""
    return [sum(window) / len(window) for window in grouped(losses, accumulation)]
