"""TRL and PEFT: a tiny language model learns to count, with LoRA. The callback is that of transformers."""

import torch
from datasets import Dataset
from lrs.transformers import LrsCallback
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

torch.manual_seed(0)
words = {str(number): number for number in range(16)} | {"<end>": 16}
counting = Tokenizer(models.WordLevel(words, unk_token="<end>"))
counting.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=counting, eos_token="<end>", pad_token="<end>")
sentences = [" ".join(str((start + place) % 16) for place in range(7)) for start in range(256)]
config = GPT2Config(vocab_size=17, n_positions=8, n_embd=32, n_layer=1, n_head=2, bos_token_id=16, eos_token_id=16)
trainer = SFTTrainer(
    model=GPT2LMHeadModel(config),
    args=SFTConfig(
        output_dir="/tmp/lrs-example-trl",
        num_train_epochs=4,
        per_device_train_batch_size=16,
        learning_rate=5e-2,
        lr_scheduler_type="cosine",  # becomes the job's schedule
        warmup_steps=4,
        max_grad_norm=0.0,  # the service bounds the gradient
        max_length=8,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=16,
        save_strategy="no",
        report_to=[],
        use_cpu=not torch.cuda.is_available(),
    ),
    train_dataset=Dataset.from_dict({"text": sentences}),
    processing_class=tokenizer,
    peft_config=LoraConfig(target_modules=["c_attn", "c_fc", "c_proj"], modules_to_save=["lm_head", "wte"], r=8),
    callbacks=[LrsCallback("examples/trl")],
)
trainer.train()
