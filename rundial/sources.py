"""What a run logs by itself: the console, system metrics, code and environment, and what goes to TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rundial.runs import Run


def start(run: Run, provider: Callable[[], Mapping[str, float]] | None) -> None:
    """Begin what the settings ask for; it ends with the run.

    Args:
        run: a run that has just begun.
        provider: gives system metrics instead of our own.
    """
    pipeline, settings = run._opened, run._settings
    if pipeline is None:
        return
    if settings.capture_console:
        from rundial.console import Console

        console = Console(pipeline, settings.tqdm_mode)
        console.start()
        run._sources.append(lambda seconds: console.stop())
    if settings.system_metrics and run._begin.rank == 0:
        from rundial.system import SystemMonitor

        monitor = SystemMonitor(pipeline, settings, provider)
        monitor.start()
        run._sources.append(lambda seconds: monitor.stop())
    if settings.snapshot_code or settings.capture_env:
        from rundial.snapshot import Snapshot

        snapshot = Snapshot(pipeline, settings)
        snapshot.start()
        run._sources.append(snapshot.stop)
    if settings.sync_tensorboard:  # the integrations stand above this module
        import_module("rundial.integrations.tensorboard").sync_tensorboard(run, settings.sync_tensorboard)
