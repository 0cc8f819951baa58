"""``rundial completion``: what a shell needs to complete commands."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated, Literal

import typer

from rundial.errors import RundialError

VARIABLE = "_RUNDIAL_COMPLETE"


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the completion of a shell: `rundial completion bash >> ~/.bashrc`."""
    # Typer answers this by itself, before anything else is read, in a process that was asked nothing more.
    environment = os.environ | {VARIABLE: f"source_{shell}"}
    made = subprocess.run(
        [sys.executable, "-m", "rundial"], env=environment, capture_output=True, text=True, check=False
    )
    if made.returncode or not made.stdout.strip():
        raise RundialError(f"there is no completion for {shell}: {made.stderr.strip() or 'nothing came'}")
    print(made.stdout.rstrip())
