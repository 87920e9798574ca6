"""fastai: `fit_one_cycle`, whose curve becomes the job's schedule."""

import torch

# In a notebook, `from fastai.vision.all import *` brings the method. This is the part that it needs.
from fastai.callback import schedule  # noqa: F401
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import SGD
from lrs.fastai import LrsCallback

torch.manual_seed(0)
x = torch.randn(256, 8)
rows = list(zip(x, x.sum(1, keepdim=True), strict=True))
batches = DataLoaders(DataLoader(rows, bs=16, shuffle=True), DataLoader(rows[:64], bs=64))
learn = Learner(
    batches,
    torch.nn.Linear(8, 1),
    loss_func=torch.nn.functional.mse_loss,
    opt_func=SGD,
    cbs=LrsCallback("examples/fastai"),
)
with learn.no_bar():
    learn.fit_one_cycle(4, 0.1)
