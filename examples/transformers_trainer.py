"""Train a tiny GPT to repeat what it reads: `python examples/transformers_trainer.py`, then `rundial ui`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments
from transformers.utils import logging

from rundial.integrations import RundialCallback

WORDS = 32
HALF = 6
IGNORED = -100
"""The label of positions that the loss leaves out."""


def repetitions(count: int, seed: int) -> list[dict[str, Any]]:
    """Sequences of ``HALF`` random words that come twice; only the second time can be learned."""
    generator = torch.Generator().manual_seed(seed)
    halves = torch.randint(0, WORDS, (count, HALF), generator=generator)
    tokens = torch.cat([halves, halves], dim=1)
    labels = tokens.clone()
    labels[:, :HALF] = IGNORED
    return [{"input_ids": row, "labels": label} for row, label in zip(tokens, labels)]


def accuracy(prediction: Any) -> dict[str, float]:
    """The share of words that are foretold right: logits (n, length, words) against labels (n, length)."""
    guesses, labels = prediction.predictions[:, :-1].argmax(-1), prediction.label_ids[:, 1:]
    learned = labels != IGNORED
    return {"accuracy": float(np.mean(guesses[learned] == labels[learned]))}


def main() -> None:
    torch.manual_seed(7)
    torch.set_num_threads(1)  # more would wait for one another, with a model this small
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    config = GPT2Config(
        vocab_size=WORDS,
        n_positions=2 * HALF,
        n_embd=64,
        n_layer=2,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    arguments = TrainingArguments(
        ".transformers",
        run_name="repeat",
        max_steps=150,
        per_device_train_batch_size=48,
        per_device_eval_batch_size=256,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        logging_steps=5,
        eval_strategy="steps",
        eval_steps=30,
        save_strategy="steps",
        save_steps=30,
        save_total_limit=2,
        metric_for_best_model="accuracy",
        load_best_model_at_end=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
    )
    trainer = Trainer(
        GPT2LMHeadModel(config),
        arguments,
        train_dataset=repetitions(8000, 1),
        eval_dataset=repetitions(500, 2),
        compute_metrics=accuracy,
        callbacks=[RundialCallback(project="repeat", tags=["transformers"], log_model=True, watch="gradients")],
    )
    trainer.train()
    metrics = trainer.predict(repetitions(500, 3)).metrics
    print(f"words foretold right: {metrics['test_accuracy']:.1%}")


if __name__ == "__main__":
    main()
