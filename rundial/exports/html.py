"""One page to look at runs without a server: all that it shows stands in it, and it asks nobody for anything.

The data lies in a block of JSON in which nothing can end the block; the page's policy lets the one script that it
names by its hash run, and lets nothing be loaded or sent. Texts of runs reach the document as texts alone.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

import rundial
from rundial.client import HttpClient
from rundial.errors import ConfigError
from rundial.http import Json, route

VERSION = 1
BUCKETS = 500
"""Points of a line at most; of more, what lies in each of so many parts is drawn."""
MAX_RUNS = 50
MAX_SERIES = 1000
"""In one request, as the server has it."""
MAX_METRICS = 1000
MAX_ITEMS = 8
"""Of each key of media and each run the newest are shown."""
MAX_MEDIA_BYTES = 40 * 1024 * 1024
"""All images and tables of a page together."""
MAX_TABLE_BYTES = 4 * 1024 * 1024
MAX_ROWS = 100
MAX_MARKERS = 1000
AXES = ("step", "relative", "wall")
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"})
_POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; img-src data:;"
    " base-uri 'none'; form-action 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="content-security-policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Rundial</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<div id="app"></div>
<noscript>This page draws its charts with a script, which your browser does not run.</noscript>
<script type="application/json" id="report">{data}</script>
<script type="module">{script}</script>
</body>
</html>
"""


def write_page(
    client: HttpClient, runs: Sequence[Json], out: Path, advance: Callable[[int], None] = lambda count: None
) -> dict[str, int]:
    """Write a page with charts, configurations side by side, images and tables of runs.

    Args:
        client: of the server that has them.
        runs: as lists have them; their ids count.
        out: the file, which appears whole or not at all.
        advance: called with 1 for each run that is done.

    Returns:
        What is not on the page, by what it is.

    Raises:
        ConfigError: more than 50 runs, a file that cannot be written, or a page that was never built.
        RundialError: what the server raises.
    """
    if len(runs) > MAX_RUNS:
        raise ConfigError(f"{len(runs)} runs are too many for one page, which holds {MAX_RUNS}. Name those you want.")
    style, script = _bundle()
    left_out: dict[str, int] = {}
    details = [client.get_run(run["runId"]) for run in runs]
    report = {
        "version": VERSION,
        "exportedAtMs": int(time.time() * 1000),
        "runs": details,
        "markers": _markers(client, details),
        "charts": _charts(client, details, left_out),
        **_media(client, details, left_out, advance),
        "leftOut": left_out,
    }
    policy = _POLICY.format(script=_digest(script), style=_digest(style))
    page = _PAGE.format(policy=policy, style=style, data=embedded(report), script=script)
    draft = out.with_name(f".{out.name}.draft")
    try:
        draft.write_text(page, encoding="utf-8", newline="\n")
        draft.replace(out)
    except OSError as error:
        raise ConfigError(f"cannot write {out}: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)
    return left_out


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def embedded(document: Any) -> str:
    """A document as JSON that may stand in a script element: no character of it can mean anything to HTML."""
    text = msgspec.json.encode(document).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _bundle() -> tuple[str, str]:
    """Style and script of the page. Raises :class:`ConfigError` when they are not there."""
    folder = Path(rundial.__file__).parent / "server" / "static" / "assets"
    found: list[str] = []
    for kind in ("css", "js"):
        paths = sorted(folder.glob(f"report-*.{kind}"))
        if not paths:
            raise ConfigError("the page is not built: run `make ui` in the clone of the repository (it needs Node 20).")
        found.append(paths[-1].read_text(encoding="utf-8"))
    if "</style" in found[0].lower() or "</script" in found[1].lower():
        raise ConfigError("the page is not built as it should be: run `make ui` in the clone of the repository.")
    return found[0], found[1].rstrip("\n")


def _markers(client: HttpClient, runs: Sequence[Json]) -> list[list[Json]]:
    ids = [run["runId"] for run in runs]
    found = client.call("marker list", "POST", "/query/markers", {"runIds": ids, "limit": MAX_MARKERS})["markers"]
    return [found.get(run_id, []) for run_id in ids]


def _charts(client: HttpClient, runs: Sequence[Json], left_out: dict[str, int]) -> Json:
    """By axis and metric the columns of each run."""
    names: dict[str, None] = {}
    for run in runs:
        keys = client.list_metric_keys(run["projectId"], run["runId"], limit=MAX_METRICS + 1)
        names |= dict.fromkeys(it["metricKey"] for it in keys if it["kind"] == "number")
        _note(left_out, "series of texts", sum(it["kind"] != "number" for it in keys))
    metrics = sorted(names)
    _note(left_out, f"metrics beyond the first {MAX_METRICS:,}", max(0, len(metrics) - MAX_METRICS))
    metrics = metrics[:MAX_METRICS]
    places = {run["runId"]: place for place, run in enumerate(runs)}
    charts: Json = {axis: {name: [None] * len(runs) for name in metrics} for axis in AXES}
    at_once = max(1, MAX_SERIES // max(1, len(runs)))
    for axis in AXES:
        for first in range(0, len(metrics), at_once):
            body = {
                "runIds": list(places),
                "metricKeys": metrics[first : first + at_once],
                "x": axis,
                "buckets": BUCKETS,
            }
            for series in client.call("chart", "POST", "/query/buckets", body)["series"]:
                if series["x"]:
                    charts[axis][series["metricKey"]][places[series["runId"]]] = _columns(series)
    return charts


def _columns(series: Json) -> Json:
    found = {"x": series["x"], "mean": series["mean"], "last": series["last"][-1]}
    if series["min"] != series["mean"] or series["max"] != series["mean"]:
        found |= {"min": series["min"], "max": series["max"]}
    return found


def _media(client: HttpClient, runs: Sequence[Json], left_out: dict[str, int], advance: Callable[[int], None]) -> Json:
    """The newest images and tables of each run, as long as there is room."""
    pictures: list[Json] = []
    tables: list[Json] = []
    room = MAX_MEDIA_BYTES
    for place, run in enumerate(runs):
        for item in _newest(client, run, left_out):
            size = item["sizeBytes"]
            is_table = item["mediaType"] == "table"
            shown = is_table or (item["mediaType"] == "image" and item["contentType"] in _PICTURES)
            if not shown or size > room or (is_table and size > MAX_TABLE_BYTES):
                _note(left_out, f"items of media: {item['mediaType']}" if not shown else "items that are too large")
                continue
            content = _content(client, run["runId"], item["mediaId"])
            about = {"run": place, "key": item["key"], "step": item["step"], "caption": item["caption"]}
            if is_table:
                table = _table(content)
                if table is None:
                    _note(left_out, "tables that cannot be read")
                    continue
                tables.append(about | table)
            else:
                source = f"data:{item['contentType']};base64,{base64.b64encode(content).decode()}"
                pictures.append(about | {"width": item["width"], "source": source})
            room -= size
        advance(1)
    return {"pictures": pictures, "tables": tables}


def _newest(client: HttpClient, run: Json, left_out: dict[str, int]) -> Iterator[Json]:
    by_key: dict[str, list[Json]] = {}
    for item in client.pages("media list", route("runs", run["runId"], "media"), "items", 1000, 1_000_000):
        by_key.setdefault(item["key"], []).append(item)
    for items in by_key.values():
        _note(left_out, f"items of media beyond the newest {MAX_ITEMS} of a key", max(0, len(items) - MAX_ITEMS))
        yield from items[-MAX_ITEMS:]


def _content(client: HttpClient, run_id: str, media_id: str) -> bytes:
    pieces: list[bytes] = []
    client.download("media download", route("runs", run_id, "media", media_id), pieces.append)
    return b"".join(pieces)


def _table(content: bytes) -> Json | None:
    try:
        found = msgspec.json.decode(content, type=Json)
        columns, rows = list(found["columns"]), [list(row) for row in found["rows"]]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        return None
    return {"columns": columns, "rows": [[_cell(cell) for cell in row] for row in rows[:MAX_ROWS]], "count": len(rows)}


def _cell(cell: Any) -> Any:
    """A cell without the picture in it, if it has one: it would be a page of letters."""
    if isinstance(cell, dict) and any(isinstance(value, str) and len(value) > 2000 for value in cell.values()):
        return f"({cell.get('type') or cell.get('_type') or 'image'})"
    return cell


def _note(left_out: dict[str, int], what: str, number: int = 1) -> None:
    if number:
        left_out[what] = left_out.get(what, 0) + number
