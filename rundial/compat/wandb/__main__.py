"""``python -m rundial.compat.wandb``: run a script for W&B, an agent or a sweep; ``--table`` says what there is."""

from __future__ import annotations

import sys
from pathlib import Path

USAGE = """\
usage: python -m rundial.compat.wandb SCRIPT [ARGUMENT ...]     run a script with Rundial in the place of wandb
       python -m rundial.compat.wandb -m MODULE [ARGUMENT ...]  the same for a module
       python -m rundial.compat.wandb sweep [--project NAME] FILE.yaml
       python -m rundial.compat.wandb sweep --pause | --resume | --stop SWEEP_ID
       python -m rundial.compat.wandb agent [--count N] SWEEP_ID
       python -m rundial.compat.wandb --table                   what is supported, as docs/wandb-compat.md"""


def main(arguments: list[str]) -> int:
    """Do what the command line says; the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)  # noqa: T201 - a command line prints
        return 0 if arguments else 2
    word, rest = arguments[0], arguments[1:]
    if word == "--table":
        from rundial.compat.wandb._surface import markdown

        print(markdown(), end="")  # noqa: T201 - as above
        return 0
    if word in ("sweep", "agent") and not Path(word).exists():
        from rundial.compat.wandb import _sweep_command

        return _sweep_command.main(word, rest)
    return _run(word, rest)


def _run(word: str, rest: list[str]) -> int:
    import runpy

    from rundial.compat.wandb._install import install

    install()
    # The script must find its own folder first, as if it had been started itself.
    if word == "-m":
        if not rest:
            print(USAGE, file=sys.stderr)  # noqa: T201 - as above
            return 2
        sys.argv = rest
        sys.path.insert(0, "")
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        return 0
    if not Path(word).exists():
        print(f"error: there is no script {word}.", file=sys.stderr)  # noqa: T201 - as above
        return 2
    sys.argv = [word, *rest]
    sys.path[0] = str(Path(word).resolve().parent)
    runpy.run_path(word, run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
