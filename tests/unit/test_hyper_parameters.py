"""A run's configuration."""

import argparse
import dataclasses

import numpy as np
import pytest

from rundial.events import RunUpdate
from rundial.testing import capture_run


def test_config_keeps_its_shape():
    """Nesting, ints and lists stay; later values are merged key by key."""
    with capture_run() as (run, server):
        run.update_config({"model": {"layers": 3, "sizes": [1, 2]}, "lr": np.float32(0.5)})
        run.update_config({"model": {"dropout": 0.1}})
        run.finish(5)
    assert run.config == {"model": {"layers": 3, "sizes": [1, 2], "dropout": 0.1}, "lr": 0.5}
    assert [event.config for event in server.events if isinstance(event, RunUpdate)][1] == {"model": {"dropout": 0.1}}


@dataclasses.dataclass
class Options:
    lr: float = 0.1
    hub_token: str = "hush"


def test_configuration_from_everywhere():
    """Parsed arguments, dataclasses and more; ints stay ints, lists stay, later values win, secrets go."""
    with capture_run() as (run, server):
        assert run.log_config(args=argparse.Namespace(depth=3, api_key="hush"), extra={"depth": 4, "sizes": [1, 2]})
        assert run.log_config(Options())
        assert run.log_config(extra={"nested": {"db_password": "hush", "max_tokens": 7}})
        with pytest.warns(RuntimeWarning, match="must be a mapping"):
            assert not run.log_config(args=3)
        run.finish(5)
    assert run.config == {
        "depth": 4,
        "api_key": "[redacted]",
        "sizes": [1, 2],
        "lr": 0.1,
        "hub_token": "[redacted]",
        "nested": {"db_password": "[redacted]", "max_tokens": 7},
    }
    assert type(run.config["depth"]) is int
    assert "hush" not in str(server.events)
