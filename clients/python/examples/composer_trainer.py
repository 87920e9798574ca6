"""MosaicML Composer: microbatches, and a scheduler of Composer, which becomes the job's schedule."""

import torch
from composer.models import ComposerModel
from composer.optim import CosineAnnealingWithWarmupScheduler
from composer.trainer import Trainer
from lrs.composer import LrsCallback
from torch.utils.data import DataLoader, TensorDataset


class Regression(ComposerModel):
    """A linear model."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 1)

    def forward(self, batch):
        """The predictions of a batch."""
        return self.layer(batch[0])

    def loss(self, outputs, batch, *args, **kwargs):
        """The loss of a batch."""
        return torch.nn.functional.mse_loss(outputs, batch[1])


torch.manual_seed(0)
x = torch.randn(256, 8)
model = Regression()
trainer = Trainer(
    model=model,
    train_dataloader=DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16),
    device_train_microbatch_size=8,
    max_duration="4ep",
    optimizers=torch.optim.AdamW(model.parameters(), lr=0.1),
    schedulers=CosineAnnealingWithWarmupScheduler(t_warmup="4ba"),
    callbacks=[LrsCallback("examples/composer")],
    progress_bar=False,
)
trainer.fit()
trainer.close()
