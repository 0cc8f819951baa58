"""``monitor_gym=True``: the videos that Gym and Gymnasium record are logged as ``videos``."""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rundial.compat.wandb.errors.term import termwarn

_ENDS = ("stop_recording", "close_video_recorder", "stop_recording_video")


def monitor() -> None:
    """Log each video once the wrapper ``RecordVideo`` has written it."""
    found = False
    for name in ("gymnasium", "gym"):
        if find_spec(name) is None:
            continue
        wrapper: Any = getattr(import_module(f"{name}.wrappers"), "RecordVideo", None)
        for end in _ENDS:
            method = getattr(wrapper, end, None)
            if method is not None and not hasattr(method, "__wrapped__"):
                setattr(wrapper, end, _logging(method))
                found = True
    if not found:
        termwarn("monitor_gym found no RecordVideo of gymnasium or gym that is not followed already.", repeat=False)


def _logging(end: Any) -> Any:
    @functools.wraps(end)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        folder = Path(self.video_folder)
        before = _videos(folder)
        result = end(self, *args, **kwargs)
        for path in sorted(dict(_videos(folder).items() - before.items())):
            _log(path)
        return result

    return wrapper


def _videos(folder: Path) -> dict[Path, int]:
    """The videos in a folder, and when each was written: a second training writes the names of the first."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("*.mp4")}


def _log(path: Path) -> None:
    from rundial.compat import wandb
    from rundial.compat.wandb.data_types import Video

    if wandb.run is not None:
        wandb.run.log({"videos": Video(str(path))}, commit=False)
