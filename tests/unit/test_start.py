"""The first record of a run: what ``init()`` was told and what is known of the process."""

import sys
from pathlib import Path

import pytest

import rundial as rd
from rundial.events import RunStart
from rundial.testing import capture_run


def started(**options):
    """A run that is on its way to nowhere."""
    return rd.init(mode="offline", quiet=True, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projekt": "x"}, "Did you mean 'project'"),
        ({"project": "  "}, "project is empty"),
        ({"project": "a/b"}, "cannot be used"),
        ({"endpoint": "127.0.0.1:8787"}, "is no URL"),
        ({"mode": "onlien"}, "online, offline, disabled"),
        ({"kind": "train"}, "training, agent, eval"),
        ({"resume": "must"}, "needs the run_id"),
        ({"run_id": "a b"}, "cannot be used"),
        ({"config": 5}, "config must be a mapping"),
        ({"tags": 5}, "tags must be a list"),
        ({"queue_bytes": "many"}, "must be a number"),
        ({"spool_max_bytes": 1}, "at least"),
    ],
)
def test_a_mistake_in_init_says_what_to_do(options, message):
    """A setting that cannot be right is one clear error, before anything starts."""
    with pytest.raises(rd.ConfigError, match=message):
        rd.init(**options)


def test_a_run_without_a_name_gets_a_readable_one():
    """Two words and a number."""
    run = rd.init(mode="disabled")
    first, second, number = run.name.split("-")
    assert first.isalpha() and second.isalpha() and number.isdigit()


def test_the_first_record_says_who_writes():
    """Everything init was told is in the first record of the stream."""
    with capture_run() as (run, server):
        run.finish(5)
    assert isinstance(server.events[0], RunStart)
    assert server.events[0].run_id == run.id


def test_the_first_record_has_what_identifies_the_run():
    """Kind, host, process and the client, and no more than a page of it."""
    with capture_run() as (run, server):
        run.finish(5)
    assert isinstance(server.events[0], RunStart)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("cv/resnet50/baseline", "cv/resnet50/baseline"),
        ("\\a\\b/", "a/b"),
        ("/", ""),
        (None, None),
        ("x" * 200, "x" * 200),
    ],
)
def test_a_path_is_normalised(given, kept):
    """Backslashes are slashes, slashes at the ends go, a slash alone is the root."""
    with started(path=given) as run:
        assert (run.path, run._begin.path) == (kept, kept)


@pytest.mark.parametrize("path", ["..", "a/../b", "a b", "ä", "a.b", "x" * 201])
def test_an_odd_path_is_refused(path):
    """It is a mistake in the call, and nothing is made."""
    with pytest.raises(rd.ConfigError, match="cannot be used"):
        started(path=path)
    assert not Path(".rundial_spool").exists()


def test_alias_and_notes_are_in_the_first_record():
    """They are texts, whatever they were."""
    with started(alias=7, notes="why", group=1, job_type="eval", tags=["a", "a", "b"]) as run:
        assert (run._begin.alias, run._begin.notes, run._begin.group, run._begin.job_type) == ("7", "why", "1", "eval")
        assert (run.alias, run.notes) == ("7", "why")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["train.py", "--api-key", "hush", "--lr", "0.1"], "train.py --api-key [redacted] --lr 0.1"),
        (["train.py", "--hub_token=hush", "x"], "train.py --hub_token=[redacted] x"),
        (["train.py", "--api-key", "--verbose"], "train.py --api-key --verbose"),
        (["train.py", "--max-tokens", "7"], "train.py --max-tokens 7"),
    ],
)
def test_the_command_line_has_no_secrets(monkeypatch, arguments, shown):
    """What follows an option that names a secret is not kept."""
    monkeypatch.setattr(sys, "argv", arguments)
    with started() as run:
        assert run._begin.system["command"] == shown


def test_secrets_are_not_in_the_first_record():
    """Neither in it nor in the run's own config."""
    with started(config={"lr": 1, "api_key": "hush", "list_of_tokens": ["a"], "wandb": {"secret": "hush"}}) as run:
        assert run.config == {
            "lr": 1,
            "api_key": "[redacted]",
            "list_of_tokens": ["a"],
            "wandb": {"secret": "[redacted]"},
        }
        assert "hush" not in str(run._begin)
