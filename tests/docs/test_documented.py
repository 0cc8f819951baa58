"""The docs name everything that can be set, said, called or typed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import typer.main

import rundial
from rundial.cli import app
from rundial.config import ENVIRONMENT, OPTIONS, Settings
from rundial.diagnostics import Diagnostics
from rundial.events import Event

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PUBLIC_NAMES = sorted(rundial.__all__)
EVENTS = get_args(Event)
UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be typed, with its whole name."""
    below = getattr(command, "commands", {})  # Typer may bring a Click of its own
    for child, entry in below.items():
        yield from commands(entry, f"{name} {child}")
    if not command.hidden and (not below or own_options(command)):
        yield name, command


def own_options(command: click.Command) -> list[str]:
    """The names of its options without those that every command shares."""
    return [str(part.name) for part in command.params if not str(part.name).startswith("shared_")]


COMMANDS = dict(commands(typer.main.get_command(app), "rundial"))


def table_rows(page: str) -> dict[str, list[str]]:
    """The cells of each table row on a page, by every name in backticks in its first cell."""
    rows: dict[str, list[str]] = {}
    for line in (DOCS / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            rows.update(dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells))
    return rows


def read_default(cell: str) -> Any:
    """The value that a cell of the options table stands for."""
    text = cell.strip("`")
    if match := re.fullmatch(r"(\d+) ([KMG]iB)", text):
        return int(match[1]) * UNITS[match[2]]
    if re.fullmatch(r"[\d.]+", text):
        return float(text)
    return {"none": None, "true": True, "false": False}.get(text, text)


def section(page: str, heading: str) -> str:
    """What stands under the heading that begins with ``heading``, up to the next of its level."""
    match = re.search(rf"^## {re.escape(heading)}\b.*?(?=^## |\Z)", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return match[0] if match else ""


@pytest.mark.parametrize("option", OPTIONS)
def test_option_is_documented_with_its_default(option: str) -> None:
    """Each option has its row in the settings page, and the default there is the one in the code."""
    row = table_rows("settings.md")[option]

    assert getattr(Settings(), option) == read_default(row[1])


def test_environment_is_documented() -> None:
    """Each variable that the code reads has its row, with the option that it sets."""
    rows = table_rows("settings.md")
    read = {
        name for path in (ROOT / "rundial").rglob("*.py") for name in re.findall(r"\bRUNDIAL_[A-Z_]+", path.read_text())
    }

    assert set() == (read | set(ENVIRONMENT)) - set(rows)
    assert {name: option for name, option in ENVIRONMENT.items() if f"`{option}`" not in rows[name][1]} == {}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_event_is_documented(event: type) -> None:
    """Each event has its section with its tag, and each of its fields a row there."""
    config: Any = event
    text = section("events.md", event.__name__)

    assert f"## {event.__name__} ({config.__struct_config__.tag})" in text
    assert [field for field in config.__struct_fields__ if f"`{field}`" not in text] == []


@pytest.mark.parametrize("field", [*Diagnostics.__struct_fields__, "dropped_total", "balanced"])
def test_diagnostic_is_documented(field: str) -> None:
    """Each counter has its row."""
    assert field in table_rows("reliability.md")


@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_public_name_is_documented(name: str) -> None:
    """Each name that `import rundial` gives stands on the page about the run."""
    assert re.search(rf"`(rd\.)?{re.escape(name)}\b", (DOCS / "run.md").read_text())


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_documented(name: str) -> None:
    """Each command, and each flag of it, stands on one page; of a group also its own, as `rundial server`'s."""
    options = [option for option in COMMANDS[name].params if option.param_type_name == "option"]
    pages = [page.read_text() for page in DOCS.glob("*.md")]
    # What is below a group is another command.
    called = re.compile(f"`{name}" + (r"(?! [a-z])" if hasattr(COMMANDS[name], "commands") else ""))
    page = "\n".join(text for text in pages if called.search(text))

    assert page, f"no page in docs/ describes `{name}`"
    assert [
        option.name for option in options if not any(flag in page for flag in option.opts + option.secondary_opts)
    ] == []


def test_flags_of_the_server_are_seen() -> None:
    """It is a group and a command; what it takes itself is looked for like the flags of any other."""
    assert {"host", "workers", "limit", "metrics_token"} <= {part.name for part in COMMANDS["rundial server"].params}


def test_make_targets_are_documented() -> None:
    """Each target of the Makefile stands in the README."""
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    readme = (ROOT / "README.md").read_text()

    assert [target for target in targets if f"`make {target}`" not in readme and target != "help"] == []


def test_architecture_lists_every_file() -> None:
    """Each module of the SDK has its line in ARCHITECTURE.md."""
    text = (ROOT / "ARCHITECTURE.md").read_text()

    assert [path.name for path in (ROOT / "rundial").glob("*.py") if f"`rundial/{path.name}`" not in text] == []
