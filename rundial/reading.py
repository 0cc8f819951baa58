"""What a server has, as typed results that come when they are asked for: runs page by page, and the history of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from rundial.errors import ConfigError, RequestError
from rundial.http import Json, next_cursor

if TYPE_CHECKING:
    import pandas

    from rundial.client import HttpClient

_KEYS_AT_ONCE = 100
_MAX_KEYS = 100_000
_SYSTEM = "system/"
_PAGE = 100

Value = float | int | str


class Row(msgspec.Struct, frozen=True):
    """What a run logged at one step.

    Args:
        x: where the row is on the axis that was asked for.
        time_ms: when the first of its values was logged, in Unix milliseconds.
        values: by metric; what was not logged at this step is not in it.
    """

    x: float
    step: int
    time_ms: int
    values: dict[str, Value]


class StoredRun(msgspec.Struct, frozen=True, rename="camel"):
    """A run as the server has it. Moments are Unix milliseconds; ``document`` is all that the server said of it."""

    run_id: str
    run_name: str = ""
    status: str = ""
    kind: str = "training"
    reason: str | None = None
    project_id: str = ""
    project_slug: str = ""
    workspace_slug: str = ""
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] | None = ()
    notes: str | None = None
    config: dict[str, Any] | None = {}
    summary: dict[str, Any] | None = {}
    last_step: int | None = None
    points: int | None = None
    started_at_ms: int | None = None
    updated_at_ms: int | None = None
    finished_at_ms: int | None = None
    document: dict[str, Any] = {}
    client: Any = None
    """Who asks for its history."""

    def __repr__(self) -> str:
        return f"StoredRun({self.run_id!r}, {self.run_name!r}, {self.status})"

    def history(self, keys: Sequence[str] | None = None, *, x: str = "step", samples: int | None = None) -> History:
        """What it logged; see :class:`History`."""
        return History(self.client, self, keys, x=x, samples=samples)


def stored_run(client: HttpClient, document: Json) -> StoredRun:
    """The typed run of an answer. Raises :class:`RequestError` when the answer is none."""
    try:
        run = msgspec.convert(document, StoredRun)
    except msgspec.ValidationError as error:
        raise RequestError(f"{client.endpoint} answered something that is no run: {error}. Is it a proxy?") from error
    return msgspec.structs.replace(run, document=document, client=client)


class Runs:
    """The runs of a project, in order. Pages are asked for as the iteration gets there; each iteration asks anew.

    Args:
        fetch: gives the page that begins at a cursor.
        wanted: which runs to give, of those that the server finds.
        limit: the most to give.
    """

    def __init__(
        self,
        client: HttpClient,
        fetch: Callable[[str | None], Json],
        wanted: Callable[[StoredRun], bool],
        limit: int | None,
    ) -> None:
        self._client = client
        self._fetch = fetch
        self._wanted = wanted
        self._limit = limit

    def __iter__(self) -> Iterator[StoredRun]:
        cursor: str | None = None
        left = self._limit
        while left is None or left > 0:
            page = self._fetch(cursor)
            for document in page["runs"]:
                run = stored_run(self._client, document)
                if not self._wanted(run):
                    continue
                yield run
                if left is not None and (left := left - 1) == 0:
                    return
            following = next_cursor(page)
            if following is None or following == cursor:
                return
            cursor = following

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each run, by its id, with ``config.<key>`` and ``summary.<key>`` flattened with ``/``.

        Raises:
            ConfigError: pandas is not installed.
        """
        frames = _pandas()
        rows = [_flat(run) for run in self]
        return frames.DataFrame(rows, columns=None if rows else ["run_id"]).set_index("run_id")


def wanted_runs(
    tags: Sequence[str], group: str | None, kind: str | None, where: Callable[[StoredRun], bool] | None
) -> Callable[[StoredRun], bool]:
    """Whether a run is one of those that are asked for: all of the tags, this group, this kind, and ``where``."""

    def wanted(run: StoredRun) -> bool:
        return (
            set(tags) <= set(run.tags or ())
            and group in (None, run.group)
            and kind in (None, run.kind)
            and (where is None or where(run))
        )

    return wanted


class History:
    """What a run logged, a row for each step, in the order of ``x``. It is asked for once, when it is first needed.

    Of each step the latest value counts. Iterating gives :class:`Row`.

    Args:
        keys: only these metrics; None for all that the run logged itself, without those of its machine.
        x: ``step``, ``relative`` (seconds since the run began), ``wall`` (Unix seconds), or the name of a metric, the
            last known value of which places a row; rows before its first value are left out.
        samples: at most so many points of each metric, evenly thinned, the newest among them; None for every one.

    Raises:
        ConfigError: ``samples`` below 1.
    """

    def __init__(
        self,
        client: HttpClient,
        run: StoredRun,
        keys: Sequence[str] | None,
        *,
        x: str,
        samples: int | None,
    ) -> None:
        if samples is not None and samples < 1:
            raise ConfigError("samples must be 1 or more; None gives every point.")
        self._client = client
        self._run = run
        self._keys = [keys] if isinstance(keys, str) else keys
        self._x = x
        self._samples = samples
        self._rows: list[Row] | None = None

    def __iter__(self) -> Iterator[Row]:
        return iter(self._fetched())

    def __len__(self) -> int:
        return len(self._fetched())

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each step, indexed by ``x``, with a column for each metric; what is missing is NaN.

        Raises:
            ConfigError: pandas is not installed.
        """
        frames = _pandas()
        rows = self._fetched()
        names = self._keys or sorted({name for row in rows for name in row.values})
        columns = {name: [row.values.get(name) for row in rows] for name in names}
        axis = [row.step if self._x == "step" else row.x for row in rows]
        return frames.DataFrame(columns, index=frames.Index(axis, name=self._x))

    def _fetched(self) -> list[Row]:
        if self._rows is None:
            self._rows = self._fetch()
        return self._rows

    def _fetch(self) -> list[Row]:
        known = self._client.list_metric_keys(self._run.project_id, self._run.run_id, limit=_MAX_KEYS)
        names = [str(it["metricKey"]) for it in known]
        chosen = self._keys or [name for name in names if not name.startswith(_SYSTEM)]
        if unknown := [name for name in chosen if name not in names]:
            some = ", ".join(names[:10]) or "none"
            raise RequestError(f"{self._run.run_id} has no metric {unknown[0]!r}. It has {some}.", 404, "NOT_FOUND")
        rows = _joined(self._series(chosen, self._samples))
        if self._x not in ("step", "relative", "wall"):
            if self._x not in names:
                hint = "x is step, relative, wall or the name of a metric."
                raise RequestError(f"{self._run.run_id} has no metric {self._x!r}. {hint}", 404, "NOT_FOUND")
            return _placed(rows, self._series([self._x], None)[0]["points"])
        if self._x == "step":
            return rows
        zero = (self._run.started_at_ms or 0) if self._x == "relative" else 0
        timed = [msgspec.structs.replace(row, x=(row.time_ms - zero) / 1000) for row in rows]
        return sorted(timed, key=lambda row: row.x)

    def _series(self, names: Sequence[str], samples: int | None) -> list[Json]:
        found: list[Json] = []
        for begin in range(0, len(names), _KEYS_AT_ONCE):
            some = names[begin : begin + _KEYS_AT_ONCE]
            page = self._client.query_series(
                self._run.project_id, self._run.run_id, some, max_points_per_series=samples
            )
            found += page["series"]
        return found


def _joined(series: Iterable[Json]) -> list[Row]:
    """The points of several series as rows, by step."""
    values: dict[int, dict[str, Value]] = {}
    times: dict[int, int] = {}
    for one in series:
        for point in one["points"]:
            step, ms = point["step"], point["timestampMs"]
            values.setdefault(step, {})[one["metricKey"]] = point["value"]
            times[step] = min(times.get(step, ms), ms)
    return [Row(step, step, times[step], values[step]) for step in sorted(values)]


def _placed(rows: Sequence[Row], axis: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The rows by the value that a metric last had at or before each of them."""
    placed: list[Row] = []
    position = 0
    here: float | None = None
    for row in rows:
        while position < len(axis) and axis[position]["step"] <= row.step:
            here = axis[position]["value"]
            position += 1
        if isinstance(here, int | float):
            placed.append(msgspec.structs.replace(row, x=here))
    return sorted(placed, key=lambda row: row.x)


def _flat(run: StoredRun) -> Json:
    names = (name for name in run.__struct_fields__ if name not in ("config", "summary", "document", "client"))
    row: Json = {name: getattr(run, name) for name in names}
    for prefix, tree in (("config", run.config), ("summary", run.summary)):
        row |= {f"{prefix}.{name}": value for name, value in _leaves(tree or {})}
    return row


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{name}/")
        else:
            yield above + name, value


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise ConfigError("to_pandas() needs pandas: pip install pandas.") from error
    return pandas
