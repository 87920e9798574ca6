"""TRL's SFTTrainer, with a tiny language model whose loss is given."""

from __future__ import annotations

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from trainers import Transformers
from training import Model


def tokenizer(size=16):
    """A tokenizer of the words `w0`, `w1` and so on."""
    words = {f"w{number}": number for number in range(size)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0")), eos_token="w0", pad_token="w0"
    )


def language_model(size=16):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=size, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(config)


class Given(SFTTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = Model.forward(model, inputs["x"])
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]


class Trainer(Transformers):
    def make_model(self):
        model = language_model()
        model.weight = torch.nn.Parameter(torch.ones(1))
        model.frozen = torch.nn.Parameter(torch.ones(1))
        return model

    def make_trainer(self, arguments, model, **parts):
        args = SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}, max_length=8, eos_token="w0")
        for name in ("train_dataset", "eval_dataset"):
            parts[name] = Dataset.from_list([{"x": row["x"].tolist()} for row in parts[name]]).with_format("torch")
        parts["data_collator"] = lambda rows: {"x": torch.stack([row["x"] for row in rows])}
        made = Given(model=model, args=args, processing_class=tokenizer(), **parts)
        made.model_accepts_loss_kwargs = False  # as the Trainer asks of those who write a mean
        return made
