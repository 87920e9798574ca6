"""Lightning: the rate falls when the validation loss has stopped falling."""

import lightning.pytorch as pl
import torch
from lrs.lightning import LrsCallback
from torch.utils.data import DataLoader, TensorDataset


class Regression(pl.LightningModule):
    """A linear model."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(8, 1)

    def training_step(self, batch, index):
        """One batch."""
        return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])

    def validation_step(self, batch, index):
        """One batch of the evaluation. The callback reports the mean of all batches."""
        self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1]))

    def configure_optimizers(self):
        """One optimizer, and no scheduler."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


torch.manual_seed(0)
x = torch.randn(256, 8)
batches = DataLoader(TensorDataset(x, x.sum(1, keepdim=True) + 0.1 * torch.randn(256, 1)), batch_size=32)
plateau = [{"reduce_lr_on_plateau": {"metric": "val_loss", "patience": 1, "factor": 0.3}}]
trainer = pl.Trainer(
    max_epochs=8,
    accelerator="auto",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    callbacks=[LrsCallback("examples/lightning", controllers=plateau)],
)
trainer.fit(Regression(), batches, batches)
print("val_loss", float(trainer.callback_metrics["val_loss"]))
