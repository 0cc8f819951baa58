"""What Lightning's ModelCheckpoint tells of the files it keeps."""

from __future__ import annotations

from typing import Any


def checkpoint_files(saver: Any) -> list[str]:
    """What a checkpoint callback has saved and not deleted: the last, the best and the best k."""
    paths = [getattr(saver, "last_model_path", ""), getattr(saver, "best_model_path", "")]
    paths += [*getattr(saver, "best_k_models", {}), getattr(saver, "_last_checkpoint_saved", "")]
    return list(dict.fromkeys(str(path) for path in paths if path))


def score_of(saver: Any, path: str) -> Any:
    """The monitored value at one of its files; that of the last saving where it keeps no account of it."""
    if path in getattr(saver, "best_k_models", {}):
        return saver.best_k_models[path]
    return getattr(saver, "current_score", None)


def terms_of(saver: Any) -> dict[str, Any]:
    """How the callback chooses what to keep."""
    names = ("monitor", "mode", "save_top_k", "save_last", "save_weights_only", "_every_n_train_steps")
    return {name.strip("_"): getattr(saver, name) for name in names if hasattr(saver, name)}
