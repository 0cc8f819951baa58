"""What a training script hands to ``log()`` and ``config``, as plain values that have a wire form."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import PurePath
from typing import Any, NamedTuple

from rundial.events import clean_key

MAX_TEXT_BYTES = 8192
MAX_DEPTH = 32
REDACTED = "[redacted]"
_FOREIGN_MEDIA = frozenset({("matplotlib", "Figure"), ("plotly", "Figure"), ("plotly", "FigureWidget")})
_INT64 = 1 << 63
_SECRET_NAME = (
    r"(?i:(?:^|[_\-./ ])(?:(?:api|access|secret|private)[_-]?key|token|secret|passw(?:or)?d|passphrase"
    r"|credentials?|authorization|bearer|cookie)$|apikey$|password$)|[a-z](?:Token|Secret|ApiKey)$"
)


class Normalised(NamedTuple):
    """The values of one ``log()`` call, sorted by what becomes of them."""

    values: dict[str, float | int | bool | str]
    non_finite: dict[str, float]
    invalid: dict[str, str]
    """Why, by key."""


class Invalid(ValueError):
    """A value that has no number and no text in it. The message says why."""


def normalise(metrics: Mapping[Any, Any]) -> Normalised:
    """Flatten nested mappings with ``/`` and turn every leaf into a number or a text; never raises for a value."""
    result = Normalised({}, {}, {})
    for key, value in _leaves("", metrics, 0, result.invalid):
        try:
            leaf = scalar(value)
        except Exception as error:  # noqa: BLE001 - __float__, item() and __str__ of a stranger's object may raise anything
            result.invalid[key] = f"{type(value).__name__}: {error}"
            continue
        if isinstance(leaf, float) and not math.isfinite(leaf):
            result.non_finite[key] = leaf
        else:
            result.values[key] = leaf
    return result


def _leaves(prefix: str, mapping: Mapping[Any, Any], depth: int, invalid: dict[str, str]) -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        path = clean_key(f"{prefix}/{clean_key(key)}" if prefix else key)
        if not isinstance(value, Mapping):
            yield path, value
        elif depth >= MAX_DEPTH:
            invalid[path] = f"nested more than {MAX_DEPTH} levels deep"
        else:
            yield from _leaves(path, value, depth + 1, invalid)


class Media:
    """What ``log()`` hands to the artifact worker instead of the queue; :mod:`rundial.media` has the kinds of it."""

    __slots__ = ()


def split_media(metrics: Mapping[Any, Any]) -> tuple[Mapping[Any, Any], list[tuple[str, Any]]]:
    """The call without its media, nested ones too, and the media with their flattened keys.

    Whatever is or can become media is meant: a :class:`Media`, a list of them, a figure of matplotlib or Plotly.
    """
    media: list[tuple[str, Any]] = []
    return (_without_media("", metrics, 0, media) if _has_media(metrics, 0) else metrics), media


def _has_media(mapping: Mapping[Any, Any], depth: int) -> bool:
    return any(
        is_media(value) or (depth < MAX_DEPTH and isinstance(value, Mapping) and _has_media(value, depth + 1))
        for value in mapping.values()
    )


def _without_media(prefix: str, mapping: Mapping[Any, Any], depth: int, media: list[tuple[str, Any]]) -> dict[Any, Any]:
    rest: dict[Any, Any] = {}
    for key, value in mapping.items():
        path = clean_key(f"{prefix}/{clean_key(key)}" if prefix else key)
        if is_media(value):
            media.append((path, value))
        elif isinstance(value, Mapping) and depth < MAX_DEPTH:
            inner = _without_media(path, value, depth + 1, media)
            if inner or not value:
                rest[key] = inner
        else:
            rest[key] = value
    return rest


def is_media(value: Any) -> bool:
    """Whether a value is media, or a list of it, or a figure or image of another library that becomes media."""
    if isinstance(value, (bool, int, float, str)) or value is None:
        return False
    if isinstance(value, (list, tuple)):
        return bool(value) and all(map(is_media, value))
    if isinstance(value, Media):
        return True
    module = type(value).__module__.partition(".")[0]
    return (module, type(value).__name__) in _FOREIGN_MEDIA or (module == "PIL" and hasattr(value, "save"))


def on_accelerator(value: Any) -> bool:
    """Whether reading the value would wait for a device: a tensor that lies on one (torch's ``device.type``)."""
    try:
        kind = getattr(getattr(value, "device", None), "type", None)
    except Exception:  # noqa: BLE001 - a stranger's property may raise anything; then it is no tensor
        return False
    return isinstance(kind, str) and kind not in ("cpu", "meta")


def snapshot(metrics: Mapping[Any, Any], depth: int = 0) -> tuple[dict[Any, Any], bool]:
    """A copy in which tensors on accelerators are cloned there, without waiting, and whether there are any.

    What the training does to a tensor after ``log()`` cannot change what was logged.
    """
    copied: dict[Any, Any] = {}
    found = False
    for key, value in metrics.items():
        if isinstance(value, Mapping) and depth < MAX_DEPTH:
            copied[key], inner = snapshot(value, depth + 1)
            found |= inner
        elif on_accelerator(value):
            copied[key] = value.detach().clone()
            found = True
        else:
            copied[key] = value
    return copied, found


def scalar(value: Any) -> float | int | bool | str:
    """A value as bool, int, float or str.

    Numbers of Python, NumPy and torch (0-d or one element), Decimal and Fraction become numbers; a str is cut to 8 KiB
    of UTF-8. Raises :class:`Invalid`, or whatever the value's own conversion raises.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else float(value)
    if isinstance(value, float):
        return float(value)
    if value is None:
        raise Invalid("None is no value")
    if isinstance(value, (complex, bytes, bytearray)):
        raise Invalid("not a number; log its parts")
    size = getattr(value, "size", 1)
    count = value.numel() if hasattr(value, "numel") else size() if callable(size) else size
    if isinstance(count, int) and count != 1:
        raise Invalid(f"{count} elements; log one number, or a histogram")
    if hasattr(value, "item"):
        item = value.item()
        if isinstance(item, (bool, int, float, str)):
            return scalar(item)
        if isinstance(item, (complex, bytes)):
            raise Invalid("not a number; log its parts")
    if hasattr(value, "__float__"):
        return float(value)
    raise Invalid("not a number")


def text(value: str) -> str:
    """A str that has UTF-8 and at most 8 KiB of it; lone surrogates become ``?``."""
    data = value.encode("utf-8", "replace")
    if len(data) <= MAX_TEXT_BYTES:
        return data.decode()
    return data[:MAX_TEXT_BYTES].decode("utf-8", "ignore")


def step_number(step: Any) -> int:
    """A step in any form a training loop has it, as an int64. Raises :class:`Invalid` for anything else."""
    number = step.item() if hasattr(step, "item") else step
    if isinstance(number, float) and not math.isfinite(number):
        raise Invalid(f"step {number} is no step")
    try:
        whole = int(number)
    except (TypeError, ValueError, OverflowError) as error:
        raise Invalid(f"step {step!r:.80} is no integer") from error
    if not -_INT64 <= whole < _INT64:
        raise Invalid("step does not fit into 64 bits")
    return whole


def plain(value: Any, depth: int = 0) -> Any:
    """Configuration as JSON has it: mappings and lists stay nested, ints stay ints, the rest becomes text.

    Namespaces, dataclasses and objects of NumPy become what they hold. Non-finite floats become text. Never raises.
    """
    try:
        return _plain(value, depth)
    except Exception as error:  # noqa: BLE001 - a stranger's __iter__, __str__ or property may raise anything
        return f"({type(value).__name__}: {type(error).__name__})"


def redacted(values: dict[str, Any]) -> dict[str, Any]:
    """The same plain mapping with the texts under names such as ``api_key`` or ``hub_token`` taken out."""
    return {key: _redacted(key, value) for key, value in values.items()}


def _redacted(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return redacted(value)
    if isinstance(value, list):
        return [_redacted(key, item) for item in value]
    return REDACTED if isinstance(value, str) and value and is_secret_name(key) else value


def is_secret_name(name: str) -> bool:
    """Whether a name says that its text is a credential: ``hub_token`` does, ``max_tokens`` does not."""
    return _secret_name()(name) is not None


@cache
def _secret_name() -> Callable[[str], re.Match[str] | None]:
    return re.compile(_SECRET_NAME).search  # compiled for the first name: that takes a millisecond


def _resolved(value: Any) -> Any:
    """A configuration of OmegaConf, which Hydra makes, with its interpolations resolved where they can be."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not OmegaConf.is_config(value):
        return value
    try:
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=False, enum_to_str=True)
    except OmegaConfBaseException:  # one interpolation that leads nowhere must not cost the others
        return OmegaConf.to_container(value, resolve=False, throw_on_missing=False, enum_to_str=True)


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value) if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if depth >= MAX_DEPTH:
        return f"(nested more than {MAX_DEPTH} levels deep)"
    if type(value).__module__.startswith("omegaconf."):
        value = _resolved(value)
    if isinstance(value, Mapping):
        return {clean_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in value]
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None and not isinstance(value, type):
        return {name: plain(getattr(value, name), depth + 1) for name in fields}
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist") and not isinstance(value, type):
        return plain(value.tolist(), depth + 1)
    if type(value).__name__ == "Namespace":
        return plain(vars(value), depth + 1)
    return text(str(value))
