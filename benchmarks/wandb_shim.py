"""What W&B's names cost: importing them, and `wandb.log` beside `run.log`, microseconds and CPU.

::

    python benchmarks/wandb_shim.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter_ns

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rundial as rd
import rundial.compat.wandb as wandb

ROUNDS = 25
CALLS = 2000
IMPORT = "import time; t = time.process_time(); import rundial.compat.wandb; print(time.process_time() - t)"
MAX_IMPORT_MS = 60.0
MAX_RATIO = 2.0


def cost(log: Callable[[dict[str, float]], object], values: dict[str, float]) -> float:
    """Microseconds of one call, in one round."""
    began = perf_counter_ns()
    for _ in range(CALLS):
        log(values)
    spent = (perf_counter_ns() - began) / CALLS / 1000
    time.sleep(0.03)  # the worker gets its turn, so that the queue has room
    return spent


def main() -> None:
    """Print the table; fail beyond the budgets."""
    here = Path(__file__).resolve().parent.parent
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    spent = [  # the first one compiles what has changed; the median is that of a package that was imported before
        float(
            subprocess.run(
                [sys.executable, "-c", IMPORT], cwd=here, env=environment, capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(9)
    ]
    imported = median(spent) * 1000
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(RUNDIAL_HOME=folder, RUNDIAL_SYSTEM_METRICS="0", WANDB_SILENT="true", WANDB_CONSOLE="off")
        os.chdir(folder)
        ours = rd.init(project="shim", mode="offline", quiet=True)
        wandb.init(project="shim", mode="offline")
        print(f"import rundial.compat.wandb {imported:8.1f} ms CPU")
        worst = 0.0
        for count in (3, 10, 30):
            values = {f"metric/{number}": number / 7 for number in range(count)}
            pairs = [(cost(ours.log, values), cost(wandb.log, values)) for _ in range(ROUNDS)]
            direct, shim = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
            worst = max(worst, shim / direct)
            figures = f"run.log {direct:6.2f} µs, wandb.log {shim:6.2f} µs, ratio {shim / direct:.2f}"
            print(f"log of {count:2} scalars: {figures}")
        wandb.finish()
        ours.finish(0)
        os.chdir(here)
    if imported > MAX_IMPORT_MS or worst > MAX_RATIO:
        sys.exit(f"beyond the budget: {imported:.1f} ms of {MAX_IMPORT_MS:g}, ratio {worst:.2f} of {MAX_RATIO:g}")


if __name__ == "__main__":
    main()
