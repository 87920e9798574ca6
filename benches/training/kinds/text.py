"""Character GPTs on the sources of Python's own library: AdamW, clipping, warm-up."""
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from torch_engine import TorchWorkload

# Line feeds, the printable characters of ASCII, and one identifier for all others.
VOCABULARY = 97


def characters(text):
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64)
    return torch.from_numpy(np.where(codes == 10, 0, np.where((codes >= 32) & (codes < 127), codes - 31, 96)))


def sources(letters):
    """The library's top-level modules whose names begin with one of these letters: training text, validation text.

    Every eighth module is for validation.
    """
    paths = sorted(p for p in Path(os.__file__).parent.glob("*.py") if p.name[0] in letters)
    texts = [path.read_text(encoding="utf8", errors="replace") for path in paths]
    held_out = texts[4::8]
    return "".join(text for text in texts if text not in held_out), "".join(held_out)


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        B, L, D = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(B, L, D))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, width, depth, heads, context):
        super().__init__()
        self.token, self.position = nn.Embedding(VOCABULARY, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, x):
        h = self.token(x) + self.position(torch.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(h)))


class CharGPT(TorchWorkload):
    """A subclass says which modules, and the sizes."""

    T, lr0, wd, max_norm = 600, 3e-3, 0.1, 1.0
    letters = "abcdefghijklm"
    width, depth, heads, context, rows, validation_rows = 96, 3, 4, 48, 6, 128

    def data(self):
        train, held_out = map(characters, sources(self.letters))
        self.text = train
        self.split(held_out)

    def split(self, held_out):
        """Windows of the held-out text that steer, and others that score."""
        starts = torch.randint(len(held_out) - self.context - 1, (self.validation_rows,),
                               generator=torch.Generator().manual_seed(0))
        windows = self.windows(held_out, starts)
        # The score is of the end alone, so it can afford more rows.
        self.steering, self.scoring = windows[:32], windows[32:]

    def windows(self, text, starts):
        return text[starts[:, None] + torch.arange(self.context + 1)]

    def network(self):
        return GPT(self.width, self.depth, self.heads, self.context)

    def batch(self):
        starts = torch.randint(len(self.text) - self.context - 1, (self.rows,), generator=self.random)
        return self.windows(self.text, starts)

    def loss(self, model, rows):
        return cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())

    val = loss
