"""What a span costs the calling thread, in microseconds: the best of some rounds, offline, with the worker draining.

::

    python benchmarks/span.py
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import rundial as rd

ROUNDS = 15
CALLS = 2000


def cost(call: Callable[[], object]) -> float:
    """Microseconds of one call."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = perf_counter_ns()
        for _ in range(CALLS):
            call()
        best = min(best, (perf_counter_ns() - began) / CALLS)
        time.sleep(0.05)  # the worker gets its turn, so that the queue has room
    return best / 1000


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RUNDIAL_HOME"] = folder
        os.chdir(folder)
        run = rd.init(project="span", mode="offline", quiet=True, system_metrics=False)

        def empty() -> None:
            with run.trace("step"):
                pass

        def call_of_a_model() -> None:
            attrs = {"phase": "plan", "attempt": 3, "temperature": 0.7}
            with run.trace("step", kind="client", attrs=attrs) as span:
                span.set_usage(model="m", tokens_in=120, tokens_out=40)

        def with_an_event() -> None:
            with run.trace("step") as span:
                span.event("ready", tokens=128)

        decorated = run.trace("step")(lambda: None)
        rows = {
            "empty span": empty,
            "3 attributes, usage": call_of_a_model,
            "1 event": with_an_event,
            "decorated function": decorated,
            "tool_call": lambda: run.tool_call("search", input={"q": "Ada"}, output=["a", "b"]),
        }
        for words, call in rows.items():
            print(f"{words:24}{cost(call):8.2f} µs")
        run.finish(0)
        assert not run.diagnostics().dropped, run.diagnostics().dropped


if __name__ == "__main__":
    main()
