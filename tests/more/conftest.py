"""Adapters of frameworks that each need an environment of their own; `make test-more` runs them one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integrations.conftest import lasting_server, program, script, server, start_server

__all__ = ["lasting_server", "program", "script", "server", "start_server"]

HERE = Path(__file__).parent


def named(config: pytest.Config) -> set[Path]:
    """The files of this folder that the command line names."""
    start = config.invocation_params.dir
    paths = {(start / argument.split("::")[0]).resolve() for argument in config.args}
    return {path for path in paths if path.parent == HERE}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what is not named, so that `make test` does without these frameworks."""
    return None if collection_path in named(config) else True


def pytest_configure(config: pytest.Config) -> None:
    """Let the frameworks warn of their own matters, already when they are imported."""
    if named(config):
        config.addinivalue_line("filterwarnings", "ignore")
