"""Texts and pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from rundial.media.base import Encoded, Media, Snapshot, file_of

MAX_TEXT_BYTES = 1024 * 1024
MAX_HTML_BYTES = 16 * 1024 * 1024
_MOST_OF_A_PATH = 1024


class Text(Media):
    """A text of up to 1 MiB; what is beyond is cut off, and flagged in its metadata.

    Args:
        text: any object; its ``str()``.
        caption: shown below it.
        metadata: further facts.
        markdown: whether it is written in Markdown.
    """

    __slots__ = ("markdown", "text")
    kind: ClassVar[str] = "text"

    def __init__(
        self,
        text: Any,
        caption: str | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        markdown: bool = False,
    ) -> None:
        super().__init__(caption, metadata)
        self.text = text
        self.markdown = markdown

    def snapshot(self) -> Snapshot:
        """The text as it is now."""
        content, markdown = str(self.text), bool(self.markdown)

        def encode(_: Path | None) -> Encoded:
            data, cut = _cut(content, MAX_TEXT_BYTES)
            facts = ({"markdown": True} if markdown else {}) | ({"truncated": True} if cut else {})
            return Encoded(".md" if markdown else ".txt", "text/plain", data, facts=facts)

        return Snapshot(encode, len(content))


class Html(Media):
    """A page of its own, shown in a frame in which no script runs and nothing is fetched.

    Args:
        html: a file, as a path object or a str that ends in ``.html`` or ``.htm``; something with ``read()``; or the
            page itself.
        caption: shown below it.
        metadata: further facts.
    """

    __slots__ = ("html",)
    kind: ClassVar[str] = "html"

    def __init__(self, html: Any, caption: str | None = None, *, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(caption, metadata)
        self.html = html.read() if hasattr(html, "read") else html

    def snapshot(self) -> Snapshot:
        """The page as it is now, or its file."""
        html = self.html
        path = None if isinstance(html, str) and not _is_path(html) else file_of(html)
        if path is not None:
            return Snapshot(lambda staged: Encoded(".html", "text/html"), source=path)
        content = html.decode("utf-8", "replace") if isinstance(html, bytes) else str(html)

        def encode(_: Path | None) -> Encoded:
            data, cut = _cut(content, MAX_HTML_BYTES)
            return Encoded(".html", "text/html", data, facts={"truncated": True} if cut else {})

        return Snapshot(encode, len(content))


def _is_path(text: str) -> bool:
    return len(text) <= _MOST_OF_A_PATH and "<" not in text and text.lower().endswith((".html", ".htm"))


def _cut(content: str, most: int) -> tuple[bytes, bool]:
    """A text as at most so many bytes of UTF-8, and whether that took something off it."""
    data = content.encode("utf-8", "replace")
    if len(data) <= most:
        return data, False
    return data[:most].decode("utf-8", "ignore").encode(), True
