"""``install()`` and its other doors: what ``import wandb`` and the package's record mean afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def run(*command: str, **environment: str) -> str:
    """What a program prints that must succeed."""
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


INSTALL = "import rundial.compat.wandb as door; door.install()\n"


def test_import_wandb_is_the_shim_with_its_submodules() -> None:
    """One module object under both names, below it, too; none of them is renamed."""
    said = run(
        "-c",
        INSTALL + "import wandb, wandb.errors, wandb.sdk.lib.runid, wandb.plots\n"
        "from wandb.sdk.wandb_run import Run\n"
        "from wandb.errors import CommError\n"
        "import rundial.compat.wandb.errors as ours\n"
        "assert wandb is door and wandb.errors is ours and CommError is ours.CommError and Run is wandb.Run\n"
        "assert ours.__spec__.name == ours.__name__ == 'rundial.compat.wandb.errors'\n"
        "door.install()\n"
        "print(wandb.__version__)",
    )
    assert said.strip() == "0.31.0"


@pytest.mark.parametrize(
    "module",
    [
        "sdk",
        "sdk.lib",
        "sdk.lib.config_util",
        "sdk.lib.runid",
        "sdk.wandb_run",
        "wandb_run",
        "sdk.data_types.base_types.wb_value",
        "sdk.data_types.image",
        "sdk.data_types.video",
        "sdk.artifacts.artifact",
        "errors",
        "errors.term",
        "env",
        "util",
        "plot",
        "sklearn",
        "apis.public",
        "data_types",
        "keras",
        "integration.sb3",
        "integration.xgboost",
        "integration.lightgbm",
    ],
)
def test_submodules_that_libraries_import_are_there(module: str) -> None:
    """Each is found by the import system without being imported."""
    from importlib.util import find_spec

    assert find_spec(f"rundial.compat.wandb.{module}") is not None


def test_the_checks_of_libraries_find_a_package() -> None:
    """``find_spec``, ``importlib.metadata`` by name and as a whole, and a requirement with a version."""
    said = run(
        "-c",
        INSTALL + "import importlib.metadata as m, importlib.util as u\n"
        "from packaging.requirements import Requirement\n"
        "assert u.find_spec('wandb') is not None and u.find_spec('wandb.nothing') is None\n"
        "assert m.version('wandb') in Requirement('wandb>=0.12.10').specifier\n"
        "assert m.metadata('wandb')['Name'] == 'wandb'\n"
        "assert 'wandb' in m.packages_distributions()['wandb']\n"
        "print(m.version('rundial') != '')",
    )
    assert said.strip() == "True"


def test_install_refuses_when_the_real_one_is_imported(tmp_path: Path) -> None:
    """Half of a program would log elsewhere: the error says so and names the file."""
    (tmp_path / "wandb.py").write_text("")
    said = run(
        "-c",
        "import wandb, rundial.compat.wandb as door\n"
        "try: door.install()\n"
        "except Exception as error: print(type(error).__name__, error)",
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
    )
    assert said.startswith("ConfigError wandb has been imported already from") and str(tmp_path) in said


def test_an_installed_wandb_is_not_what_is_imported(tmp_path: Path) -> None:
    """The shim stands before a real package on the path, its record, too."""
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "__init__.py").write_text("raise SystemExit('the real one')")
    (tmp_path / "wandb" / "real.py").write_text("raise SystemExit('the real one')")
    said = run(
        "-c",
        INSTALL + "import wandb\ntry: import wandb.real\nexcept ModuleNotFoundError: print('none')",
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
    )
    assert said.strip() == "none"


def test_python_m_runs_a_script_as_if_it_were_started_itself(tmp_path: Path) -> None:
    """Its arguments, its folder on the path, ``__main__``, and ``wandb`` in the place of the real one."""
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "neighbour.py").write_text("value = 7")
    script = folder / "train.py"
    script.write_text(
        "import sys, wandb, neighbour\n"
        "if __name__ == '__main__': print(sys.argv[1:], neighbour.value, wandb.__name__, __file__)"
    )
    said = run("-m", "rundial.compat.wandb", str(script), "--lr", "0.1")
    assert said.strip() == f"['--lr', '0.1'] 7 rundial.compat.wandb {script}"


def test_python_m_without_a_script_says_how(tmp_path: Path) -> None:
    """No script, or one that is not there, is exit code 2 with a line that says what is wrong."""
    for words, said in (((), "usage:"), (("nothing.py",), "there is no script nothing.py")):
        done = subprocess.run(
            [sys.executable, "-m", "rundial.compat.wandb", *words], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2 and said in done.stdout + done.stderr


def test_the_environment_variable_installs_at_the_start_of_python() -> None:
    """``RUNDIAL_COMPAT=wandb`` through the file that stands in site-packages; without it nothing is imported."""
    start = f"import site, sys; site.addsitedir({str(ROOT / 'rundial/compat')!r})\n"
    assert run("-c", start + "print('rundial' in sys.modules)").strip() == "False"
    said = run("-c", start + "import wandb; print(wandb.__name__)", RUNDIAL_COMPAT="wandb")
    assert said.strip() == "rundial.compat.wandb"
