"""Networks that are trained on one thing first and fine-tuned on another: few steps, a loss that begins low."""
import functools
import os
from pathlib import Path

from kinds.images import Digits, digits
from kinds.text import CharGPT, characters


def trained(workload, steps, rate):
    """The state of a workload's network after a first training with a linear decay, the same for every run."""
    workload.init(100)
    for k in range(steps):
        workload.step(rate * min(1, (k + 1) / 20) * (steps - k) / steps)
    return workload.model.state_dict()


class Pretrained:
    """Begins each run with the network that the class's `pretrained()` returns, made once a process."""

    @functools.cached_property
    def start(self):
        return self.pretrained()

    def init(self, seed, optimizer=None):
        start = self.start
        super().init(seed, optimizer)
        self.model.load_state_dict(start)


class Code(CharGPT):
    """What the GPT is trained on first."""

    width, depth, context, letters = 64, 2, 48, "abcdefghijklmnopqrstuvwxyz"


class Prose(Pretrained, Code):
    """A GPT that has learned Python learns the prose of its reference."""

    T, lr0, wd = 200, 1e-3, 0.01

    def data(self):
        text = characters((Path(os.__file__).parent / "pydoc_data" / "topics.py").read_text(encoding="utf8"))
        self.text, held_out = text[: len(text) * 4 // 5], text[len(text) * 4 // 5 :]
        self.split(held_out)

    def pretrained(self):
        return trained(Code(), 500, 3e-3)


class Negatives(Pretrained, Digits):
    """A residual network that knows digits learns their transposed negatives from 300 images."""

    T, lr0, wd, rows = 300, 0.01, 1e-4, 16

    def data(self):
        x, y = digits()
        self.keep(-x.transpose(2, 3), y, 1497, 8)

    def pretrained(self):
        return trained(Digits(), 300, 0.1)

