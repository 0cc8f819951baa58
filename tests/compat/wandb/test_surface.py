"""What the page promises is there, and what is missing says so."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import rundial.compat.wandb as wandb
from rundial.compat.wandb import _surface
from rundial.compat.wandb._names import LAZY, MODULES, UNSUPPORTED

HERE = Path(__file__).parent
ROOT = HERE.parent.parent.parent
REAL_NAMES = json.loads((HERE / "names-0.31.json").read_text())
"""The public names of wandb 0.31."""
FRAMEWORKS = {"catboost", "fastai", "keras", "lightgbm", "sacred", "xgboost"}
SUBMODULES = [
    "apis.public",
    "data_types",
    "env",
    "errors.term",
    "sdk.data_types.base_types.wb_value",
    "sdk.data_types.image",
    "sdk.data_types.video",
    "sdk.lib.config_util",
    "sdk.lib.runid",
    "sdk.wandb_run",
    "wandb_run",
]


def named(status):
    """The plain names of the table with this status."""
    rows = [row for row in _surface.ROWS if (row.status == "not supported") == (status == "not supported")]
    names = [row.symbol.removeprefix("wandb.") for row in rows if row.symbol.startswith("wandb.")]
    return [name for name in names if name.isidentifier()]


@pytest.mark.parametrize("name", [name for name in named("there") if name not in FRAMEWORKS])
def test_name_is_there(name):
    """A name the table promises can be had, by attribute and by `from ... import`."""
    assert hasattr(wandb, name)
    exec(f"from rundial.compat.wandb import {name}")


@pytest.mark.parametrize("name", named("not supported"))
def test_missing_name_says_so(name):
    """One that is not supported is not there for hasattr, and names itself and the page when it is used."""
    assert not hasattr(wandb, name)
    with pytest.raises(NotImplementedError, match=rf"wandb\.{name} is not supported.*docs/wandb-compat\.md"):
        getattr(wandb, name)


def test_every_public_name_has_its_row():
    """Each public name of the real module stands in the table; so does each of ours."""
    rows = {row.symbol for row in _surface.ROWS}
    assert [name for name in REAL_NAMES if f"wandb.{name}" not in rows] == []
    assert [name for name in {*LAZY, *MODULES, *UNSUPPORTED} if f"wandb.{name}" not in rows] == []


@pytest.mark.parametrize("name", SUBMODULES)
def test_submodule_can_be_imported(name):
    """What libraries import from inside is where they look for it."""
    importlib.import_module(f"rundial.compat.wandb.{name}")


def test_page_is_the_table():
    """docs/wandb-compat.md is what `python -m rundial.compat.wandb --table` prints."""
    assert (ROOT / "docs/wandb-compat.md").read_text() == _surface.markdown()


def test_reports_are_missing():
    """The module is there to be imported; its names say that they are not supported."""
    reports = importlib.import_module("rundial.compat.wandb.apis.reports")
    with pytest.raises(NotImplementedError, match=r"wandb\.apis\.reports\.Report is not supported"):
        reports.Report  # noqa: B018


def test_dir_lists_what_there_is():
    """dir() knows the lazy names, too, and none that is missing."""
    assert {"Image", "plot", "log", "run"} <= set(dir(wandb))
    assert UNSUPPORTED.isdisjoint(dir(wandb))


def test_unknown_name_is_an_attribute_error():
    """As for any module."""
    with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
        wandb.no_such_thing  # noqa: B018


def test_import_loads_nothing_heavy():
    """The module is imported by scripts that may never log; it brings no NumPy and no HTTP."""
    heavy = ("numpy", "requests", "PIL", "urllib3", "torch", "pandas")
    code = f"import rundial.compat.wandb, sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
