"""A transformer of two layers and made data, for tests of what is built on Transformers. Programs import it, too."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

torch.set_num_threads(1)  # more would wait for one another, with models this small

History = dict[int, dict[str, Any]]


def tiny_model(**config: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "n_positions": 64, "n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(**{**sizes, "eos_token_id": 1, "pad_token_id": 2, **config}))


def rows(count: int) -> list[dict[str, Any]]:
    """Sequences of eight random tokens."""
    tokens = torch.randint(0, 64, (count, 8), generator=torch.Generator().manual_seed(1))
    return [{"input_ids": row, "labels": row} for row in tokens]


def tiny_trainer(callbacks: Any = (), *, model: Any = None, kind: Any = Trainer, **options: Any) -> Any:
    """A Trainer of six steps that logs each; ``options`` are of TrainingArguments and win."""
    ours = ("eval_dataset", "model_init")
    arguments = {
        "output_dir": "out",
        "report_to": "none",
        "max_steps": 6,
        "logging_steps": 1,
        "save_strategy": "no",
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "disable_tqdm": True,
        **{name: value for name, value in options.items() if name not in ours},
    }
    given = {name: value for name, value in options.items() if name in ours}
    if "model_init" not in given:
        given["model"] = tiny_model() if model is None else model
    return kind(
        args=TrainingArguments(**arguments), train_dataset=rows(200), callbacks=list(callbacks) or None, **given
    )


def logged(log_history: list[dict[str, Any]], also: History | None = None) -> History:
    """A Trainer's own record: the values by step and key, the last of each."""
    found: History = {} if also is None else also
    for entry in log_history:
        found.setdefault(entry["step"], {}).update({key: value for key, value in entry.items() if key != "step"})
    return found


def checkpoints(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).glob("checkpoint-*"))


def launched_by(processes: int) -> dict[str, str]:
    """What a launcher tells each of its processes, apart from their ranks."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    return {
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": "1",
    }
