"""RundialCallback in real trainers of TRL: metrics, and tables of what the model completed."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from rundial.events import Metrics
from rundial.integrations import RundialCallback
from rundial.testing import capture_run
from tests.integrations.tiny_transformers import logged, tiny_model
from tests.unit.store_server import StoreServer

# TRL and what it stands on warn of their own matters.
pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

WORDS = ["one", "two", "three", "four"]


def tokenizer() -> Any:
    """Knows 64 words, as many as the tiny model has."""
    words = ["<s>", "</s>", "<pad>", "<unk>", *WORDS, *(f"word{n}" for n in range(56))]
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = Whitespace()
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special)


def options(**more: Any) -> dict[str, Any]:
    return {
        "output_dir": "out",
        "report_to": "none",
        "max_steps": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        **more,
    }


def test_supervised_fine_tuning() -> None:
    """SFTTrainer's own metrics, such as the entropy and the accuracy of tokens, value for value."""
    with capture_run() as (run, memory):
        trainer = SFTTrainer(
            tiny_model(),
            args=SFTConfig(**options(max_length=16, per_device_train_batch_size=2)),
            train_dataset=Dataset.from_dict({"text": [" ".join(WORDS)] * 8}),
            processing_class=tokenizer(),
            callbacks=[RundialCallback(run=run)],
        )
        trainer.train()
    found: dict[int, dict[str, Any]] = {}
    for event in memory.events:
        if isinstance(event, Metrics):
            found.setdefault(event.step, {}).update(event.values)
    assert found == logged(trainer.state.log_history)
    assert "mean_token_accuracy" in found[1]


def test_completions_of_grpo(monkeypatch: pytest.MonkeyPatch) -> None:
    """With log_completions a table of prompts, completions, rewards and advantages for each step that has new ones."""

    def length(completions: list[str], **kwargs: Any) -> list[float]:
        return [float(len(completion)) for completion in completions]

    with StoreServer() as store:
        monkeypatch.setenv("RUNDIAL_ENDPOINT", store.url)
        monkeypatch.setenv("RUNDIAL_API_KEY", "rdk_x")
        callback = RundialCallback(project="grpo", quiet=True)
        trainer = GRPOTrainer(
            tiny_model(),
            reward_funcs=length,
            args=GRPOConfig(
                **options(
                    log_completions=True,
                    num_generations=2,
                    per_device_train_batch_size=2,
                    max_completion_length=4,
                )
            ),
            train_dataset=Dataset.from_dict({"prompt": WORDS}),
            processing_class=tokenizer(),
            callbacks=[callback],
        )
        trainer.train()
        callback.run.finish(30)
        tables = [(v["media"], *v["content"].values()) for v in store.versions if v["media"]["key"] == "completions"]
        rewards = dict(zip(store.records.steps("reward"), store.records.series("reward")))
    assert [media["step"] for media, _ in tables] == [1, 2]
    for media, content in tables:
        table = json.loads(content)
        assert table["columns"] == ["prompt", "completion", "length", "advantage"]
        assert len({row[0] for row in table["rows"]} & set(WORDS)) == 1 and len(table["rows"]) == 2
        mean = sum(row[2] for row in table["rows"]) / 2
        assert rewards[media["step"]] == pytest.approx(mean)
