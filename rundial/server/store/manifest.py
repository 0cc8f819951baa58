"""What an upload will contain: files by path, size and SHA-256, references, and what the version is called.

Nothing here is ever a place on this server's disk. Paths are kept as they came, once it is sure that no client can be
led out of the folder it downloads into.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from rundial.events import clean_key
from rundial.server.store.admission import MAX_NAME, clean_text, document
from rundial.server.store.refusal import Refusal, invalid

MAX_FILES = 100_000
MAX_PATH = 1024
MAX_FILE_BYTES = 5 * 2**40
MAX_URI = 4096
MAX_ALIASES = 100
MAX_ALIAS = 128
MAX_CAPTION = 10_000
MAX_METADATA = 1024 * 1024
SINGLE_BYTES = 64 * 1024 * 1024
"""A file up to this size is put in one request."""
PART_BYTES = 16 * 1024 * 1024
MAX_PARTS = 10_000
CHECKPOINTS_KEPT = 5
"""Versions of a checkpoint that are kept of each run, unless it says otherwise."""
LATEST = "latest"
MEDIA_TYPES = frozenset({"image", "table", "histogram", "audio", "video", "html", "plotly", "object3d", "text", "file"})
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTENT_TYPE = re.compile(r"[\w.+-]{1,100}/[\w.+-]{1,100}(; ?charset=[\w-]{1,40})?", re.ASCII)

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Amount = Annotated[int, Meta(ge=0, le=2**53)]
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Milliseconds = Annotated[int, Meta(ge=0, le=2**53)]


class FileEntry(Struct, rename="camel", omit_defaults=True):
    """A file that is uploaded. ``path`` is POSIX and relative; ``size_bytes`` is at most 5 TiB."""

    path: str
    size_bytes: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]
    sha256: Sha256
    content_type: str | None = None
    part_sha256: Annotated[list[Sha256], Meta(max_length=MAX_PARTS)] | None = None
    """Of each part of a file above 64 MiB, cut as :func:`part_bytes` says."""


class Reference(Struct, rename="camel", omit_defaults=True):
    """A file that stays elsewhere."""

    path: str
    uri: str
    size_bytes: Amount | None = None
    sha256: Sha256 | None = None
    etag: str | None = None


class MediaEntry(Struct, rename="camel", omit_defaults=True):
    """What is said of an item of media besides its content."""

    key: str
    step: Int64
    media_type: str
    time_ms: Milliseconds | None = None
    index: Annotated[int, Meta(ge=0, le=2**31)] = 0
    caption: str | None = None
    width: Amount | None = None
    height: Amount | None = None
    table_rows: Amount | None = None
    table_columns: Amount | None = None
    metadata: dict[str, Any] | None = None


class Initiation(Struct, rename="camel", omit_defaults=True):
    """Body of ``POST /api/v1/artifacts/initiate``."""

    run_id: str
    name: str
    project_id: str | None = None
    artifact_type: str | None = None
    aliases: list[str] | None = None
    metadata: dict[str, Any] | None = None
    retention_policy: dict[str, Any] | None = None
    files: list[FileEntry] = []
    references: list[Reference] | None = None
    upload_key: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    step: Int64 | None = None
    time_ms: Milliseconds | None = None
    media: MediaEntry | None = None

    @property
    def keep_last(self) -> int | None:
        """How many versions of this name are kept of the run; None for all."""
        policy = self.retention_policy
        if policy is None:
            return CHECKPOINTS_KEPT if self.artifact_type == "checkpoint" else None
        kept = policy.get("keepLast")
        # A policy this server does not know keeps everything: what is removed cannot be had again.
        return kept if policy.get("strategy") == "keep_last" and type(kept) is int and kept > 0 else None


def checked(asked: Initiation) -> Initiation:
    """The initiation with its texts clean and its entries by path. Raises :class:`Refusal` 400."""
    if not asked.name.strip() or len(asked.name) > MAX_NAME + 50 or _CONTROL.search(asked.name):
        raise invalid(f"The artifact's name {asked.name[:40]!r} cannot be used.", "Write 1 to 250 characters.")
    references = asked.references or []
    if len(asked.files) + len(references) > MAX_FILES:
        raise invalid(f"There are more than {MAX_FILES} files.", "Pack them into an archive.")
    if asked.media is not None and (len(asked.files) != 1 or references):
        raise invalid("An item of media is exactly one file.", "Upload each item for itself.")
    if not asked.files and not references:
        raise invalid("There are no files.", "Name at least one file or reference.")
    _check_entries(asked.files, references)
    return msgspec.structs.replace(
        asked,
        artifact_type=asked.artifact_type and clean_text(asked.artifact_type, MAX_NAME),
        aliases=clean_aliases(asked.aliases or []),
        metadata=_metadata(asked.metadata),
        files=sorted(map(_cleaned, asked.files), key=lambda file: file.path),
        references=sorted(references, key=lambda reference: reference.path),
        upload_key=asked.upload_key or secrets.token_hex(16),
        media=asked.media and checked_media(asked.media),
    )


def checked_media(entry: MediaEntry) -> MediaEntry:
    """The entry with its texts clean. Raises :class:`Refusal` 400."""
    if entry.media_type not in MEDIA_TYPES:
        raise invalid(f"{entry.media_type[:40]!r} is no type of media.", f"Types are {', '.join(sorted(MEDIA_TYPES))}.")
    return msgspec.structs.replace(
        entry,
        key=clean_key(entry.key),
        caption=entry.caption and clean_text(entry.caption, MAX_CAPTION),
        metadata=_metadata(entry.metadata),
    )


def clean_aliases(aliases: list[str]) -> list[str]:
    """Aliases as they can stand in a reference ``name:alias``, each once; without ``latest``, which moves by itself."""
    if len(aliases) > MAX_ALIASES:
        raise invalid(f"There are more than {MAX_ALIASES} aliases.", "Give fewer.")
    cleaned = (clean_text(alias, MAX_ALIAS).strip().replace(":", "-").replace("/", "-") for alias in aliases)
    return [alias for alias in dict.fromkeys(cleaned) if alias and alias != LATEST]


def digest(files: list[FileEntry], references: list[Reference]) -> str:
    """SHA-256 of what a version contains, whatever it is called. Entries are sorted by path."""
    hashed = hashlib.sha256()
    for file in files:
        hashed.update(msgspec.json.encode([file.path, file.size_bytes, file.sha256]))
    for reference in references:
        hashed.update(msgspec.json.encode(reference))
    return hashed.hexdigest()


def part_bytes(size: int) -> int:
    """The size of the parts of a file of ``size`` bytes: 16 MiB, or whole MiB so that 10,000 parts suffice."""
    least = -(-size // MAX_PARTS)
    return max(PART_BYTES, -(-least // 2**20) * 2**20)


def part_count(size: int) -> int:
    """How many requests put a file of ``size`` bytes."""
    return 1 if size <= SINGLE_BYTES else -(-size // part_bytes(size))


def _check_entries(files: list[FileEntry], references: list[Reference]) -> None:
    paths: set[str] = set()
    sizes: dict[str, int] = {}
    for path in (*(file.path for file in files), *(reference.path for reference in references)):
        _check_path(path)
        if path in paths:
            raise invalid(f"The path {path[:80]!r} is there twice.", "Name each file once.")
        paths.add(path)
    for file in files:
        if sizes.setdefault(file.sha256, file.size_bytes) != file.size_bytes:
            raise invalid(f"The SHA-256 of {file.path[:80]!r} stands for two sizes.", "Hash the files again.")
    for reference in references:
        if not reference.uri or len(reference.uri) > MAX_URI or _CONTROL.search(reference.uri):
            raise invalid(f"The reference {reference.path[:80]!r} has no usable URI.", "Write at most 4096 characters.")


def _check_path(path: str) -> None:
    problem = _problem(path)
    if problem:
        raise Refusal(
            400,
            "INVALID_REQUEST",
            f"The path {path[:80]!r} {problem}.",
            "Paths are relative, with '/' between names, none of them '.' or '..', and at most 1024 characters.",
        )


def _problem(path: str) -> str | None:
    if not path or len(path) > MAX_PATH:
        return "is empty or too long"
    if "\\" in path or _CONTROL.search(path):
        return "has a backslash or a control character in it"
    if re.match("[A-Za-z]:", path):
        return "begins with a drive"
    if any(name in ("", ".", "..") for name in path.split("/")):
        return "is not relative, or could lead elsewhere"
    return None


def _cleaned(file: FileEntry) -> FileEntry:
    if file.content_type is not None and not _CONTENT_TYPE.fullmatch(file.content_type):
        return msgspec.structs.replace(file, content_type=None)
    return file


def _metadata(metadata: dict[str, Any] | None) -> dict[str, Any]:
    try:
        size = len(document(metadata or {}))
    except ValueError as error:
        raise invalid(f"The metadata cannot be kept: {error}.", "Write it into a file of the artifact.") from error
    if size > MAX_METADATA:
        raise invalid(f"The metadata has more than {MAX_METADATA} bytes.", "Write it into a file of the artifact.")
    return metadata or {}
