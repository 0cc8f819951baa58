"""``wandb.config``: hyper-parameters by attribute and by item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rundial.compat.wandb.errors import Error
from rundial.values import MAX_DEPTH

_OWN = frozenset({"_items", "_locked", "_publish", "_may_change"})


class ConfigError(Error):
    """A value that is set already was to be changed without ``allow_val_change=True``."""


class Config:
    """The configuration of a run.

    Args:
        publish: told of what is to change, before it does.
        may_change: whether values may be changed without asking.
    """

    _items: dict[str, Any]

    def __init__(self, publish: Callable[[dict[str, Any]], object] = lambda values: None, may_change: bool = False):
        self.__dict__.update(_items={}, _locked={}, _publish=publish, _may_change=may_change)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __getattr__(self, key: str) -> Any:
        try:
            return self.__dict__["_items"][key]
        except KeyError:
            raise AttributeError(f"{type(self)!r} object has no attribute {key!r}") from None

    def __setattr__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return str(dict(self._items))

    def keys(self) -> list[str]:
        """The names."""
        return list(self._items)

    def values(self) -> list[Any]:
        """The values."""
        return list(self._items.values())

    def items(self) -> list[tuple[str, Any]]:
        """Names and values."""
        return list(self._items.items())

    def get(self, key: str, default: Any = None) -> Any:
        """One value, or the default."""
        return self._items.get(key, default)

    def as_dict(self) -> dict[str, Any]:
        """A copy of all of it."""
        return dict(self._items)

    def update(self, d: Any, allow_val_change: bool | None = None) -> None:
        """Merge a mapping, a namespace, a dataclass or a YAML file.

        Raises:
            ConfigError: a value would change, and ``allow_val_change`` is not True.
            TypeError: none of these.
        """
        may_change = self.__dict__["_may_change"] if allow_val_change is None else allow_val_change
        changed: dict[str, Any] = {}
        for key, value in parsed(d).items():
            value = friendly(value)
            if key in self.__dict__["_locked"]:
                continue  # a sweep has chosen it
            if not may_change and key in self._items and not _same(self._items[key], value):
                raise ConfigError(
                    f'Attempted to change value of key "{key}" from {self._items[key]} to {value}\n'
                    "If you really want to do this, pass allow_val_change=True to config.update()"
                )
            changed[key] = value
        self._take(changed)

    def update_locked(self, d: Any, user: str | None = None, _allow_val_change: bool | None = None) -> None:
        """Set values that later ones cannot change, as a sweep does."""
        values = {key: friendly(value) for key, value in parsed(d).items()}
        self.__dict__["_locked"].update(dict.fromkeys(values, user))
        self._take(values)

    def setdefaults(self, d: Any) -> None:
        """Set those values that have none."""
        self._take({key: friendly(value) for key, value in parsed(d).items() if key not in self._items})

    def persist(self) -> None:
        """Nothing to do: every change is on its way already."""

    def _take(self, values: dict[str, Any]) -> None:
        if values:
            self.__dict__["_publish"](values)
            self._items.update(values)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) or (one != one and other != other)


def parsed(values: Any) -> dict[str, Any]:
    """What ``config=`` and ``update`` take, as a dict. Raises :class:`TypeError` for anything else."""
    if values is None:
        return {}
    if isinstance(values, (str, Path)):
        return _of_file(Path(values))
    if isinstance(values, Config):
        return values.as_dict()
    if hasattr(values, "__dataclass_fields__") and not isinstance(values, type):
        return {name: getattr(values, name) for name in values.__dataclass_fields__}
    if isinstance(values, Mapping) or hasattr(values, "keys"):
        return {str(key): values[key] for key in values.keys()}  # noqa: SIM118 - more than mappings have keys()
    if type(values).__module__.startswith("absl.flags") and hasattr(values, "flag_values_dict"):
        return dict(values.flag_values_dict())
    if hasattr(values, "__dict__"):
        return {str(key): value for key, value in vars(values).items()}
    raise TypeError("config must be a dict or have a __dict__ attribute.")


def _of_file(path: Path) -> dict[str, Any]:
    """A YAML or JSON file; W&B's own form of it has ``{"value": ...}`` under each name."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        import json

        document = json.loads(text)
    else:
        try:
            import yaml
        except ImportError as error:
            raise Error(f"reading {path} needs PyYAML: pip install pyyaml.") from error
        document = yaml.safe_load(text)
    if not isinstance(document, dict):
        raise TypeError(f"{path} holds no mapping of names to values.")
    return {
        str(key): value["value"] if isinstance(value, dict) and "value" in value else value
        for key, value in document.items()
        if key not in ("wandb_version", "_wandb")
    }


def friendly(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it: tuples and sets become lists, arrays nested lists, anything unknown its text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value)
    if depth > MAX_DEPTH:
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): friendly(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Config):
        return value.as_dict()
    if isinstance(value, (list, tuple, set, frozenset)):
        return [friendly(item, depth + 1) for item in value]
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: friendly(getattr(value, name), depth + 1) for name in value.__dataclass_fields__}
    if hasattr(value, "tolist") and not isinstance(value, type):
        return value.tolist()
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return str(value)
