"""Configuration in the forms in which scripts have it."""

import argparse
import dataclasses

import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb._config import Config, ConfigError
from rundial.compat.wandb.sdk.lib.config_util import ConfigError as FromSdk


@pytest.fixture
def changes():
    return []


@pytest.fixture
def config(changes):
    return Config(changes.append)


def test_only_what_changed_is_published(config, changes):
    """One record for each call, with nothing twice."""
    config.update({"a": 1, "b": 2})
    config.c = 3
    config["d"] = {"e": (1, 2)}
    config.setdefaults({"a": 9, "f": 4})
    assert changes == [{"a": 1, "b": 2}, {"c": 3}, {"d": {"e": [1, 2]}}, {"f": 4}]


def test_a_refused_change_publishes_nothing(config, changes):
    """Not even the part of it that would have been fine."""
    config.update({"a": 1})
    with pytest.raises(ConfigError, match="allow_val_change=True"):
        config.update({"new": 1, "a": 2})
    assert (dict(config), changes) == ({"a": 1}, [{"a": 1}])
    config.update({"a": 2}, allow_val_change=True)
    assert config.a == 2
    assert FromSdk is ConfigError


def test_nan_is_the_same_as_nan(config):
    """Setting it again is no change."""
    config.update({"x": float("nan")})
    config.update({"x": float("nan")})


def test_namespace_dataclass_and_file(config, tmp_path):
    """Whatever has names has them here."""

    @dataclasses.dataclass
    class Arguments:
        lr: float = 0.1
        layers: tuple = (1, 2)

    pytest.importorskip("yaml")
    file = tmp_path / "config.yaml"
    file.write_text("wandb_version: 1\nepochs:\n  value: 3\nplain: 4\n")
    config.update(argparse.Namespace(seed=1))
    config.update(Arguments())
    config.update(str(file))
    assert dict(config) == {"seed": 1, "lr": 0.1, "layers": [1, 2], "epochs": 3, "plain": 4}


def test_classes_have_their_names(config):
    """A type of NumPy has the methods of its values; it is a name all the same."""
    np = pytest.importorskip("numpy")
    config.update({"dtype": np.float32, "of": [np.ndarray, int]})
    assert dict(config) == {"dtype": "numpy.float32", "of": ["numpy.ndarray", "builtins.int"]}


def test_a_sweep_has_the_last_word(config):
    """What it has chosen, the script cannot change."""
    config.update_locked({"lr": 0.5}, user="sweep")
    config.update({"lr": 0.1, "other": 1})
    assert dict(config) == {"lr": 0.5, "other": 1}


def test_init_leaves_out_and_picks_names():
    """config_exclude_keys and config_include_keys."""
    with wandb.init(mode="offline", config={"a": 1, "b": 2}, config_exclude_keys=["a"]) as run:
        assert dict(run.config) == {"b": 2}
    with wandb.init(mode="offline", config={"a": 1, "b": 2}, config_include_keys=["a"]) as run:
        assert dict(run.config) == {"a": 1}


def test_secrets_do_not_leave():
    """A key stays in the script: what is sent has it taken out."""
    with wandb.init(mode="offline", config={"hub_token": "secret-text", "lr": 1}) as run:
        assert run.config.hub_token == "secret-text"
        assert run.sink.config == {"hub_token": "[redacted]", "lr": 1}


def test_changes_may_be_allowed_for_all():
    """allow_val_change at init."""
    with wandb.init(mode="offline", config={"a": 1}, allow_val_change=True) as run:
        run.config.a = 2
        assert run.config.a == 2
