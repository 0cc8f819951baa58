"""SIGKILL between applying a command and answering it, over and over: nothing twice, nothing lost, what is known said.

    python benchmarks/kill_dials.py [ROUNDS]

Runs the kill tests of dials and of the queue directory with so many kills each (100) instead of the few of `make test`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = (
    "tests/flows/test_dials.py::test_a_kill_applies_nothing_twice_and_loses_nothing",
    "tests/unit/test_control.py::test_a_kill_applies_nothing_twice_and_loses_nothing",
)


def main() -> int:
    rounds = sys.argv[1] if len(sys.argv) > 1 else "100"
    command = [sys.executable, "-m", "pytest", "-q", "--durations=2", *TESTS]
    root = Path(__file__).parent.parent
    return subprocess.run(command, cwd=root, env=os.environ | {"KILL_ROUNDS": rounds}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
