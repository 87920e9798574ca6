"""A PEFT model in transformers' Trainer: LoRA's weights are trained, and checkpoints have them alone."""

from __future__ import annotations

import torch
from peft import LoraConfig, get_peft_model

from trainers import Transformers
from training import Model


class Adapted(Model):
    """A model whose loss is given, with a layer that LoRA adapts."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x, labels=None, **more):
        by_layer = self.layer(torch.ones(1, 1)).sum()
        kept = super().forward(x, labels, **more)
        return kept | {"loss": kept["loss"] * (1 + (by_layer - by_layer.detach()))}


class Trainer(Transformers):
    grows = False

    def make_model(self):
        model = get_peft_model(Adapted(), LoraConfig(target_modules=["layer"], modules_to_save=[]))
        model.weight.requires_grad_(True)
        return model
