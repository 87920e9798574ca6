"""TRL's own losses, of a LoRA model too: what the service gets is what the trainer logs."""

import pytest
import torch
import transformers
from datasets import Dataset
from peft import LoraConfig
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from lrs.transformers import LrsCallback
from trainer_trl import language_model, tokenizer
from training import PATIENT


class Seen(transformers.TrainerCallback):
    """What the trainer logs, and the rates that it used."""

    def __init__(self):
        self.losses, self.norms, self.rates = [], [], []

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.rates.append(kwargs["optimizer"].param_groups[0]["lr"])

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self.norms.append(logs["grad_norm"])


TEXTS = [" ".join(f"w{(start + place) % 16}" for place in range(4 + start % 3)) for start in range(9)]
SFT = Dataset.from_dict({"text": TEXTS})
DPO = Dataset.from_dict(
    {
        "prompt": [text[:5] for text in TEXTS],
        "chosen": [text[5:] for text in TEXTS],
        "rejected": ["w1 w2 w3" for _ in TEXTS],
    }
)
KINDS = {"sft": (SFTTrainer, SFTConfig, SFT), "dpo": (DPOTrainer, DPOConfig, DPO)}


@pytest.mark.parametrize("peft_config", [None, LoraConfig(target_modules=["c_attn"], r=2)], ids=["whole", "lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_and_the_rates_are_the_trainer_s(server, job, tmp_path, kind, peft_config):
    trainer_class, config_class, dataset = KINDS[kind]

    def trained(*callbacks):
        torch.manual_seed(0)
        args = config_class(
            output_dir=str(tmp_path),
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            num_train_epochs=2,
            learning_rate=0.01,
            lr_scheduler_type="cosine",
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            disable_tqdm=True,
            max_length=8,
            gradient_checkpointing=False,
        )
        trainer_class(
            model=language_model(),
            args=args,
            train_dataset=dataset,
            processing_class=tokenizer(),
            peft_config=peft_config,
            callbacks=list(callbacks),
            **({"ref_model": language_model()} if kind == "dpo" and peft_config is None else {}),
        ).train()

    alone, seen = Seen(), Seen()
    trained(alone)
    trained(LrsCallback(job, server=server.url, **PATIENT), seen)
    record = server.record(job)
    assert len(alone.losses) == 6, "the last window of an epoch has a single batch"
    assert list(record["loss"].values()) == pytest.approx(seen.losses, abs=2e-4)
    assert list(record["grad_norm"].values()) == pytest.approx(seen.norms, rel=1e-3)
    assert seen.rates == pytest.approx(alone.rates, rel=1e-9)
    assert list(record["learning_rate"].values()) == pytest.approx(alone.rates, rel=1e-9)
