"""transformers: a tiny language model learns to count, with a Trainer."""

import torch
from lrs.transformers import LrsCallback
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

torch.manual_seed(0)
starts = torch.randint(0, 16, (256,))
sentences = [(torch.arange(8) + start) % 16 for start in starts]
dataset = [{"input_ids": sentence, "labels": sentence} for sentence in sentences]

config = GPT2Config(vocab_size=16, n_positions=8, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
trainer = Trainer(
    model=GPT2LMHeadModel(config),
    args=TrainingArguments(
        output_dir="/tmp/lrs-example-transformers",
        num_train_epochs=4,
        per_device_train_batch_size=16,
        learning_rate=1e-2,
        lr_scheduler_type="constant",  # the rates come from the service
        max_grad_norm=0.0,  # and so does the bound of the gradient
        logging_steps=16,
        save_strategy="no",
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
    ),
    train_dataset=dataset,
    callbacks=[LrsCallback("examples/transformers", schedule={"wsd": {"warmup_steps": 8, "decay_steps": 16}})],
)
trainer.train()
