"""What spans carry: any object as a plain value, and values that are too large as files of an artifact."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from rundial.values import MAX_DEPTH, REDACTED, is_secret_name, on_accelerator, plain, redacted

if TYPE_CHECKING:
    from rundial.pipeline import Pipeline
    from rundial.staging import Job

MAX_ATTRIBUTE_NAME = 128
INLINE_BYTES = 16 * 1024
"""A value beyond this, and what does not fit beside the others into as much, goes to the artifact store."""
MAX_ELEMENTS = 1024
"""Elements of an array that is kept as it is; a larger one is only described."""
MAX_FILES = 16
"""Values of one span with a file each; what else there is too much of shares one."""
HASHED_BYTES = 1024 * 1024
"""A longer value is not hashed in the caller: that would take a millisecond or more."""
PREVIEW_CHARACTERS = 200
_REFERENCE = PREVIEW_CHARACTERS + 300
"""About what a reference takes."""
_OVERHEAD = 8
_WORTH_A_FILE = 1024
_INT64 = 1 << 63
_NOT_IN_PATHS = re.compile(r"(?:[^A-Za-z0-9_.-]|\.{2,})+")


class Evidence(NamedTuple):
    """A value on its way to the artifact store."""

    path: str
    data: bytes
    content_type: str


def label(value: object, most: int) -> str:
    """Any object as a printable name of at most ``most`` characters."""
    if type(value) is not str:
        try:
            value = str(value)
        except Exception:  # noqa: BLE001 - a name whose __str__ raises is still worth what it names
            value = f"({type(value).__name__})"
    if len(value) > most:
        value = f"{value[: most - 1]}…"
    if not value.isprintable():
        value = "".join(c if c.isprintable() else "\ufffd" for c in value)
    return value or "(empty)"


def named(name: str, value: Any, depth: int = 0) -> Any:
    """A value as a span keeps it under a name: texts and bytes under that of a secret are redacted. Never raises."""
    kept = attribute(value, depth)
    return _hidden(kept) if is_secret_name(name) else kept


def _hidden(value: Any) -> Any:
    if isinstance(value, list):
        return [_hidden(item) for item in value]
    is_text = isinstance(value, (str, bytes)) or (isinstance(value, dict) and value.get("kind") == "rundial.bytes")
    return REDACTED if is_text and value else value


def attribute(value: Any, depth: int = 0) -> Any:
    """A value as a span keeps it: like configuration, but texts stay whole and bytes become base64.

    Non-finite floats become texts, arrays of more than 1,024 elements and tensors on accelerators a description.
    Never raises.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if -_INT64 <= value < _INT64 else str(value)
    try:
        return _attribute(value, depth)
    except Exception as error:  # noqa: BLE001 - a stranger's __iter__, __str__ or property may raise anything
        return f"({kind.__name__}: {type(error).__name__})"


def _attribute(value: Any, depth: int) -> Any:
    if isinstance(value, float):
        return float(value) if isfinite(value) else {"nan": "NaN", "inf": "Infinity"}.get(str(value), "-Infinity")
    if isinstance(value, (bytes, bytearray, memoryview)):
        if len(value) > INLINE_BYTES and depth == 0:
            return bytes(value)  # a file of its own in the end
        return {"kind": "rundial.bytes", "encoding": "base64", "data": base64.b64encode(value).decode()}
    if isinstance(value, str):
        return attribute(str.__str__(value))
    if isinstance(value, int):
        return attribute(int(value))
    if depth >= MAX_DEPTH:
        return f"(nested more than {MAX_DEPTH} levels deep)"
    if isinstance(value, Mapping):
        names = {label(key, MAX_ATTRIBUTE_NAME): item for key, item in value.items()}
        return {name: named(name, item, depth + 1) for name, item in names.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [attribute(item, depth + 1) for item in value]
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is not None and not isinstance(value, type):
        return {name: named(name, getattr(value, name), depth + 1) for name in fields}
    if hasattr(value, "tolist") and not isinstance(value, type):
        return _array(value, depth)
    if type(value).__name__ == "Namespace":
        kept = plain(value, depth)
        return redacted(kept) if isinstance(kept, dict) else kept
    return attribute(str(value))


def _array(value: Any, depth: int) -> Any:
    count = value.numel() if hasattr(value, "numel") else getattr(value, "size", 1)
    if on_accelerator(value) or count > MAX_ELEMENTS:  # reading it would wait for a device, or take its time
        return f"({type(value).__name__} of shape {tuple(value.shape)}, {value.dtype})"
    return attribute(value.tolist(), depth + 1)


def move_out(pipeline: Pipeline, trace_id: str, span_id: str, attrs: dict[str, Any]) -> dict[str, Any]:
    """The attributes with references in place of what is too large to stand in a record; that goes to the store.

    Reads and writes nothing here: the files are written by the upload worker.
    """
    encoded = {key: _encoded(value) for key, value in attrs.items()}
    sizes = {key: len(data) + len(key) + _OVERHEAD for key, (data, _) in encoded.items()}
    total = sum(sizes.values())
    files: dict[str, Evidence] = {}
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True)[:MAX_FILES]:
        data, kind = encoded[key]
        if len(data) > INLINE_BYTES or (total > INLINE_BYTES and len(data) > _WORTH_A_FILE):
            files[key] = Evidence(_path(key, kind, files), data, kind)
            total += _REFERENCE + len(key) - sizes.pop(key)
    left = _what_is_left(sizes, total)
    if left:
        data = msgspec.json.encode({key: _readable(attrs[key]) for key in attrs if key in left})
        files["rundial.more"] = Evidence("evidence/more-attributes.json", data, "application/json")
    if not files:
        return attrs
    stored = _upload(pipeline, trace_id, span_id, files)
    kept = {key: value for key, value in attrs.items() if key not in left}
    return kept | {key: _reference(span_id, key, evidence, stored) for key, evidence in files.items()}


def _what_is_left(sizes: dict[str, int], total: int) -> frozenset[str]:
    """Which of the small attributes do not fit in beside the rest: the largest of them, which are the fewest."""
    left: set[str] = set()
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if total <= INLINE_BYTES - (_REFERENCE if left else 0):
            break
        left.add(key)
        total -= sizes[key]
    return frozenset(left)


def _encoded(value: Any) -> tuple[bytes, str]:
    if isinstance(value, str):
        return value.encode(), "text/plain"
    if isinstance(value, bytes):
        return value, "application/octet-stream"
    return msgspec.json.encode(value), "application/json"


def _readable(value: Any) -> Any:
    return attribute(value, 1) if isinstance(value, bytes) else value


def _path(key: str, kind: str, files: dict[str, Evidence]) -> str:
    ending = {"text/plain": "txt", "application/json": "json"}.get(kind, "bin")
    stem = _NOT_IN_PATHS.sub("-", key)[:96]
    path = f"evidence/{stem}.{ending}"
    return f"evidence/{stem}-{len(files)}.{ending}" if any(path == known.path for known in files.values()) else path


def _reference(span_id: str, key: str, evidence: Evidence, stored: bool) -> dict[str, Any]:
    """What stands in a span for a value that lies elsewhere."""
    import hashlib

    size = len(evidence.data)
    reference: dict[str, Any] = {
        "kind": "rundial.evidence_ref" if stored else "rundial.evidence_marker",
        "artifact": artifact_name(span_id),
        "path": evidence.path,
        "key": key,
        "sizeBytes": size,
        "sha256": hashlib.sha256(evidence.data).hexdigest() if size <= HASHED_BYTES else None,
        "contentType": evidence.content_type,
    }
    if not stored:
        reference["status"] = "dropped"
    if evidence.content_type != "application/octet-stream":
        reference["preview"] = evidence.data[: 4 * PREVIEW_CHARACTERS].decode("utf-8", "ignore")[:PREVIEW_CHARACTERS]
    return reference


def artifact_name(span_id: str) -> str:
    """Under which name the large values of a span are stored, as an artifact of type ``trace_evidence``."""
    return f"trace-evidence-{span_id}"


def _upload(pipeline: Pipeline, trace_id: str, span_id: str, files: dict[str, Evidence]) -> bool:
    """Hand the files to the upload worker; False, and counted there, when too much waits."""
    from rundial.staging import File, Job  # loaded by the first value that is too large

    metadata = {"traceId": trace_id, "spanId": span_id, "keys": {file.path: key for key, file in files.items()}}
    moment = time.time_ns()

    def prepare(folder: Path) -> Job:
        staged = []
        for number, file in enumerate(files.values()):
            (folder / "files" / str(number)).write_bytes(file.data)
            staged.append(File(file.path, staged=str(number), content_type=file.content_type))
        return Job(artifact_name(span_id), staged, "trace_evidence", metadata=metadata, time_ns=moment)

    return pipeline.uploads.submit(prepare, size=sum(len(file.data) for file in files.values()), kind="artifact")
