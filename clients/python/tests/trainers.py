"""Each trainer that lrs follows, driven by the losses of its batches: the cases of the contract run against all of them.

The model's loss is the mean of the batch's numbers, and so is its gradient.
"""

from __future__ import annotations

from importlib import import_module

import accelerate
import accelerate.state
import jax
import jax.numpy as jnp
import keras
import lightning.pytorch as pl
import numpy as np
import optax
import torch
import transformers
from lightning.pytorch.plugins.precision import MixedPrecision

import lrs.accelerate
import lrs.jax
import lrs.keras
import lrs.lightning
import lrs.torch
import lrs.transformers
from training import PATIENT, FailureError, Model, grouped, scaler, windows


def use_scaler(accelerator):
    """Give an Accelerator on the CPU what it has on a GPU with half precision."""
    accelerator.scaler, accelerator.native_amp, accelerator.state._mixed_precision = scaler(), True, "fp16"


class Torch:
    """A loop in plain PyTorch that divides by the batches it accumulates."""

    knows_skips = grows = resumes = True

    def updates(self, run):
        return windows(run.losses * 1, run.accumulation) * run.epochs

    def train(self, server, job, run):
        model = Model()
        optimizer = torch.optim.SGD([model.weight], lr=0.1)
        guard = {"tier": 1} | run.options
        scheduler = lrs.torch.LRScheduler(optimizer, job, server=server.url, **(PATIENT | {"total_steps": 100} | guard))
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        if run.checkpoint is not None:
            scheduler.load_state_dict(run.checkpoint)
        scale, done = scaler() if run.with_scaler else None, 0
        with scheduler:
            for epoch in range(run.epochs):
                for window in grouped(run.losses, run.accumulation):
                    optimizer.zero_grad()
                    total = torch.zeros(())
                    for number in window:
                        if done == run.fail_at:
                            raise FailureError
                        loss = model(torch.tensor([number]))["loss"] / len(window)
                        (scale.scale(loss) if scale else loss).backward()
                        total += loss.detach()
                    if scale:
                        scale.unscale_(optimizer)
                    makes = scheduler.guard(total)
                    if scale:
                        scale.step(optimizer)
                        scale.update()
                    elif makes:
                        optimizer.step()
                    scheduler.step(total if run.with_loss else None)
                    done += 1
                    if done == run.grow_at:
                        optimizer.add_param_group({"params": [model.frozen], "lr": 0.02, "name": "unfrozen"})
                    if done == run.stop_after:
                        return scheduler.state_dict()
                if run.evaluate:
                    scheduler.log(val_loss=run.evaluate[epoch])
        return scheduler.state_dict()


class Accelerate:
    knows_skips = grows = resumes = True

    def updates(self, run):
        return windows(run.losses, run.accumulation) * run.epochs

    def train(self, server, job, run):
        for state in (
            accelerate.state.AcceleratorState,
            accelerate.state.GradientState,
            accelerate.state.PartialState,
        ):
            state._reset_state()
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=run.accumulation)
        if run.with_scaler:
            use_scaler(accelerator)
        model = Model()
        optimizer = torch.optim.SGD([model.weight], lr=0.1)
        batches = torch.utils.data.DataLoader(torch.tensor(run.losses)[:, None], batch_size=1)
        model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
        options = {"total_steps": 100, "tier": 1} | run.options
        scheduler = lrs.accelerate.LRScheduler(accelerator, optimizer, job, server=server.url, **(PATIENT | options))
        self.model, self.optimizer, self.scheduler = model, optimizer.optimizer, scheduler
        if run.checkpoint is not None:
            scheduler.load_state_dict(run.checkpoint)
        done = 0
        with scheduler:
            for epoch in range(run.epochs):
                for x in batches:
                    if done == run.fail_at:
                        raise FailureError
                    with accelerator.accumulate(model):
                        loss = model(x)["loss"]
                        accelerator.backward(loss)
                        if scheduler.guard(loss) or run.with_scaler:
                            optimizer.step()
                        scheduler.step(loss if run.with_loss else None)
                        optimizer.zero_grad()
                    done += accelerator.sync_gradients
                    if done == run.grow_at and len(optimizer.param_groups) == 1:
                        optimizer.add_param_group({"params": [self.model.frozen], "lr": 0.02, "name": "unfrozen"})
                    if done == run.stop_after:
                        return scheduler.state_dict()
                if run.evaluate:
                    scheduler.log(val_loss=run.evaluate[epoch])
        return scheduler.state_dict()


class Transformers:
    knows_skips = grows = resumes = counts_epochs_before = True

    def updates(self, run):
        return windows(run.losses, run.accumulation) * run.epochs

    def make_model(self):
        return Model()

    def make_trainer(self, arguments, model, **parts):
        args = transformers.TrainingArguments(**arguments)
        return transformers.Trainer(model=model, args=args, **parts)

    def train(self, server, job, run, *, directory="/tmp/lrs-contract", **more):
        torch.manual_seed(0)
        self.model = self.make_model()
        self.callback = lrs.transformers.LrsCallback(job, server=server.url, **(PATIENT | run.options))
        callbacks = [self.callback, Watch(run)]
        arguments = {
            "output_dir": str(directory),
            "num_train_epochs": run.epochs,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": run.accumulation,
            "learning_rate": 0.1,
            "optim": "sgd",
            "lr_scheduler_type": "constant",
            "report_to": [],
            "use_cpu": True,
            "max_grad_norm": 0.0,
            "save_strategy": "steps",
            "save_steps": 2,
            "disable_tqdm": True,
            "remove_unused_columns": False,
            "train_sampling_strategy": "sequential",
            "eval_strategy": "epoch" if run.evaluate else "no",
            "logging_nan_inf_filter": False,
        } | more
        optimizer = torch.optim.SGD([self.model.weight], lr=0.1)
        self.trainer = trainer = self.make_trainer(
            arguments,
            self.model,
            train_dataset=[{"x": torch.tensor([loss])} for loss in run.losses],
            eval_dataset=[{"x": torch.tensor([1.0])}],
            callbacks=callbacks,
            optimizers=(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)),
        )
        self.optimizer = optimizer
        if run.with_scaler:
            use_scaler(trainer.accelerator)
        if run.evaluate:
            told = iter(run.evaluate)
            trainer.evaluate = lambda **_: (
                trainer.callback_handler.on_evaluate(
                    trainer.args, trainer.state, trainer.control, {"eval_loss": next(told)}
                )
                and {"eval_loss": 0.0}
            )
        trainer.train(resume_from_checkpoint=run.checkpoint)
        self.scheduler = self.callback.scheduler
        return f"{directory}/checkpoint-{trainer.state.global_step}"


class Watch(transformers.TrainerCallback):
    """Does to a Trainer what a run says."""

    def __init__(self, run):
        self.run = run

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.run.fail_at:
            raise FailureError
        if state.global_step == self.run.grow_at:
            kwargs["optimizer"].add_param_group({"params": [kwargs["model"].frozen], "lr": 0.02, "name": "unfrozen"})

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.run.stop_after:
            control.should_training_stop = True


class Lightning:
    knows_skips = grows = resumes = counts_epochs_before = True

    def updates(self, run):
        return windows(run.losses, run.accumulation) * run.epochs

    def train(self, server, job, run, *, directory="/tmp/lrs-contract", module=None, **more):
        self.module = module or Module(run)
        self.callback = lrs.lightning.LrsCallback(job, server=server.url, **(PATIENT | run.options))
        if run.with_scaler:
            more["plugins"] = [MixedPrecision("16-mixed", "cpu", scaler=scaler())]
        self.trainer = trainer = pl.Trainer(
            max_epochs=run.epochs,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            accumulate_grad_batches=run.accumulation,
            default_root_dir=directory,
            callbacks=[self.callback],
            **more,
        )
        batches = torch.utils.data.DataLoader(torch.tensor(run.losses)[:, None], batch_size=1)
        validation = torch.utils.data.DataLoader(torch.ones(1, 1)) if run.evaluate else None
        trainer.fit(self.module, batches, validation, ckpt_path=run.checkpoint, weights_only=True)
        self.model, self.optimizer, self.scheduler = self.module.model, trainer.optimizers[0], self.callback.scheduler
        trainer.save_checkpoint(f"{directory}/last.ckpt")
        return f"{directory}/last.ckpt"


class Module(pl.LightningModule):
    def __init__(self, run, make_scheduler=None):
        super().__init__()
        self.model, self.run, self.make_scheduler = Model(), run, make_scheduler
        self.evaluations = iter(run.evaluate)
        self.used = []

    def training_step(self, batch, index):
        if self.trainer.global_step == self.run.fail_at:
            raise FailureError
        if self.trainer.global_step == self.run.stop_after:
            self.trainer.should_stop = True
            return None
        groups = self.trainer.optimizers[0]
        if self.trainer.global_step == self.run.grow_at and len(groups.param_groups) == 1:
            groups.add_param_group({"params": [self.model.frozen], "lr": 0.02, "name": "unfrozen"})
        return self.model(batch)["loss"]

    def on_before_optimizer_step(self, optimizer):
        self.used.append(optimizer.param_groups[0]["lr"])

    def validation_step(self, batch, index):
        if not self.trainer.sanity_checking:
            self.log("val_loss", torch.tensor(next(self.evaluations)))

    def configure_optimizers(self):
        optimizer = torch.optim.SGD([self.model.weight], lr=0.1)
        if self.make_scheduler is None:
            return optimizer
        return [optimizer], [self.make_scheduler(optimizer)]


class Keras:
    """Keras accumulates over the ends of epochs. It makes every update, and tells callbacks of no exception."""

    knows_skips = grows = False
    resumes = True

    def updates(self, run):
        whole = windows(run.losses * run.epochs, run.accumulation)
        return whole[: len(run.losses) * run.epochs // run.accumulation]

    def train(self, server, job, run):
        keras.utils.set_random_seed(0)
        inputs = keras.layers.Input((1,))
        self.model = model = keras.Model(inputs, Given()(inputs))
        accumulation = run.accumulation if run.accumulation > 1 else None
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=accumulation)
        model.compile(optimizer=optimizer, loss=lambda y_true, y_pred: keras.ops.mean(y_pred, axis=-1))
        self.callback = lrs.keras.LrsCallback(job, server=server.url, state=run.checkpoint, **(PATIENT | run.options))
        x = np.array(run.losses, dtype="float32")[:, None]
        model.fit(
            x, x, batch_size=1, epochs=run.epochs, verbose=0, shuffle=False, callbacks=[KerasWatch(run), self.callback]
        )
        self.scheduler = self.callback.scheduler
        return self.callback.state_dict()


class Given(keras.layers.Layer):
    """A layer whose output is its input, and whose weight a bad input does not spoil: Keras makes every update."""

    def build(self, shape):
        self.w = self.add_weight(shape=(), initializer="ones", name="w")

    def call(self, x):
        return x + 0 * self.w


class KerasWatch(keras.callbacks.Callback):
    def __init__(self, run):
        super().__init__()
        self.run, self.done = run, 0

    def on_train_batch_begin(self, batch, logs=None):
        if self.done == self.run.fail_at:
            raise FailureError

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.done == self.run.stop_after:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if self.run.evaluate:
            logs["val_loss"] = self.run.evaluate[epoch]


class Jax:
    """A loop in JAX. `apply_if_finite` leaves out updates."""

    knows_skips = resumes = True
    grows = False

    def updates(self, run):
        return Keras.updates(self, run)

    def train(self, server, job, run):
        optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.0)
        if run.accumulation > 1:
            optimizer = optax.MultiSteps(optimizer, run.accumulation)
        else:
            optimizer = optax.apply_if_finite(optimizer, 100)
        weight = jnp.ones(())
        options = PATIENT | {"groups": 0.1, "total_steps": 100, "accumulation": run.accumulation} | run.options
        done = 0
        with lrs.jax.Scheduler(job, server=server.url, **options) as scheduler:
            self.scheduler = scheduler
            if run.checkpoint is not None:
                scheduler.load_state_dict(run.checkpoint)
            opt_state = scheduler.begin(optimizer.init(weight))
            for epoch in range(run.epochs):
                for number in run.losses:
                    if done == run.fail_at:
                        raise FailureError
                    loss, gradient = jax.value_and_grad(lambda w, x: x * (1 + (w - jax.lax.stop_gradient(w))))(
                        weight, number
                    )
                    changes, opt_state = optimizer.update(gradient, opt_state, weight)
                    weight = optax.apply_updates(weight, changes)
                    skipped = False if run.accumulation > 1 else ~opt_state.last_finite
                    opt_state = scheduler.update(opt_state, loss if run.with_loss else None, skipped=skipped)
                    done += 1
                    if done == run.stop_after:
                        return scheduler.state_dict()
                if run.evaluate:
                    scheduler.log(val_loss=run.evaluate[epoch])
            return scheduler.state_dict()


def elsewhere(name):
    """A trainer in a file of its own: its library is imported where it is used, as that takes a while."""
    return lambda: import_module(f"trainer_{name}").Trainer()


TRAINERS = {
    "torch": Torch,
    "accelerate": Accelerate,
    "transformers": Transformers,
    "lightning": Lightning,
    "keras": Keras,
    "jax": Jax,
    "fastai": elsewhere("fastai"),
    "deepspeed": elsewhere("deepspeed"),
    "megatron": elsewhere("megatron"),
    "composer": elsewhere("composer"),
    "torchtitan": elsewhere("torchtitan"),
    "ray": elsewhere("ray"),
    "trl": elsewhere("trl"),
    "peft": elsewhere("peft"),
}
