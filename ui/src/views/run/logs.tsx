import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import type { RunDetail } from "../../api";
import { dateTime } from "../../format";
import { Failure } from "../../parts/notice";
import { route, setQuery } from "../../router";
import { pieces } from "./logs.ansi";
import { LEVELS, type LogRow } from "./logs.api";
import "./logs.css";
import { LogModel } from "./logs.model";
import type { RunModel } from "./model";

/** Height of a line that is not wrapped, as in logs.css. */
const ROW = 18;
/** Lines drawn beyond each edge of the screen. */
const SPARE = 40;
/** How near to an edge the next page is fetched, in pixels. */
const NEAR = 2000;
const TYPING_MS = 250;
const TIMES = ["clock", "since start", "none"] as const;
type Times = (typeof TIMES)[number];

/** A run's log: live, searched, with the colours it was printed in. */
export function Logs({ run, model }: { run: RunDetail; model: RunModel }) {
  const log = useMemo(() => new LogModel(run.runId), [run.runId]);
  useEffect(() => () => log.close(), [log]);
  const query = route.value.query;
  const minLevel = LEVELS.find((level) => level === query.get("level")) ?? "trace";
  const text = query.get("q") ?? "";
  const follow = useSignal(true);
  useEffect(() => {
    follow.value = log.follow = true;
    void log.open({ minLevel, text }, "last");
  }, [log, minLevel, text]);
  const more = model.more.value["logs"] ?? 0;
  useEffect(() => {
    if (more && (log.follow || !log.newer.peek())) void log.grow();
  }, [more]);
  const setFollow = (on: boolean) => {
    follow.value = log.follow = on;
  };
  const toStart = () => {
    setFollow(false);
    void log.open({ minLevel, text }, "first");
  };
  const toEnd = () => {
    setFollow(true);
    if (log.newer.peek()) void log.open({ minLevel, text }, "last");
    else void log.grow();
  };
  const wrap = query.get("wrap") === "1";
  const times = TIMES.find((name) => name === query.get("time")) ?? "clock";
  const { error } = log;
  return (
    <div class="logs">
      <div class="controls">
        <label>
          level
          <select value={minLevel} onChange={(event) => setQuery({ level: unless("trace", event.currentTarget.value) }, true)}>
            {LEVELS.map((level) => <option value={level}>{level === "trace" ? "all" : `${level} and above`}</option>)}
          </select>
        </label>
        <label>
          time
          <select value={times} onChange={(event) => setQuery({ time: unless("clock", event.currentTarget.value) })}>
            {TIMES.map((name) => <option>{name}</option>)}
          </select>
        </label>
        <label>
          <input type="checkbox" checked={wrap} onChange={(event) => setQuery({ wrap: event.currentTarget.checked ? "1" : null })} />
          wrap
        </label>
        <label title="Stay at the end as lines come; scrolling up lets go">
          <input type="checkbox" checked={follow.value} onChange={(event) => (event.currentTarget.checked ? toEnd() : setFollow(false))} />
          follow
        </label>
        <button onClick={toStart}>start</button>
        <button onClick={toEnd}>end</button>
        <Amount log={log} searched={Boolean(text) || minLevel !== "trace"} />
        <Search text={text} />
      </div>
      {error.value && <Failure error={error.value} retry={toEnd} />}
      <Lines
        key={`${minLevel} ${text} ${wrap}`} log={log} wrap={wrap} times={times} needle={text} startMs={run.startedAtMs}
        follow={follow.value} setFollow={setFollow}
      />
    </div>
  );
}

function unless(usual: string, value: string): string | null {
  return value === usual ? null : value;
}

function Amount({ log, searched }: { log: LogModel; searched: boolean }) {
  const { length } = log.rows.value;
  const open = log.older.value || log.newer.value;
  return (
    <span class="muted" role="status">
      {length.toLocaleString("en-US")}{open ? "+" : ""} {searched ? (length === 1 ? "match" : "matches") : length === 1 ? "line" : "lines"}
    </span>
  );
}

function Search({ text }: { text: string }) {
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const search = (value: string) => {
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => setQuery({ q: value }), TYPING_MS);
  };
  return (
    <input
      type="search" class="filter" placeholder="search  /" aria-label="Search the log" data-filter=""
      value={text} onInput={(event) => search(event.currentTarget.value)}
    />
  );
}

interface LinesProps {
  log: LogModel;
  wrap: boolean;
  times: Times;
  needle: string;
  startMs: number;
  follow: boolean;
  setFollow(on: boolean): void;
}

/** Only the lines near the screen are in the document; spacers stand for the others. */
function Lines({ log, wrap, times, needle, startMs, follow, setFollow }: LinesProps) {
  const box = useRef<HTMLDivElement>(null);
  const list = useRef<HTMLDivElement>(null);
  const screen = useSignal({ top: 0, height: 600 });
  const heights = useRef(new Map<number, number>());
  const last = useRef({ top: 0, first: 0, opened: 0 });
  const rows = log.rows.value;
  const layout = wrap ? measured(rows, heights.current) : uniform(rows.length);
  const { top, height } = screen.value;
  const begin = Math.max(0, layout.at(top) - SPARE);
  const end = Math.min(rows.length, layout.at(top + height) + 1 + SPARE);

  const look = () => {
    const { scrollTop, clientHeight, scrollHeight } = box.current!;
    const { top, height } = screen.peek();
    if (scrollTop !== top || clientHeight !== height) screen.value = { top: scrollTop, height: clientHeight };
    const left = scrollHeight - scrollTop - clientHeight;
    if (left < ROW && !log.newer.peek()) setFollow(true);
    else if (scrollTop < last.current.top - 1) setFollow(false);
    last.current.top = scrollTop;
    if (scrollTop < NEAR) void log.growBack();
    if (left < NEAR && log.newer.peek()) void log.grow();
  };

  useLayoutEffect(() => {
    const element = box.current!;
    const resizing = new ResizeObserver(look);
    resizing.observe(element);
    return () => resizing.disconnect();
  }, []);

  useLayoutEffect(() => {
    const element = box.current!;
    const first = rows[0]?.sequence ?? 0;
    const before = last.current.first;
    last.current.first = first;
    let shift = wrap ? measure(list.current!, rows, begin, layout.at(element.scrollTop), heights.current) : 0;
    if (before && first !== before) {
      // Lines were put before (or taken from) the first: what is looked at stays where it is.
      const known = rows.findIndex((row) => row.sequence >= before);
      shift += first < before && known >= 0 ? layout.top(known) : 0;
    }
    const anew = last.current.opened !== log.opened;
    last.current.opened = log.opened;
    if (follow) element.scrollTop = element.scrollHeight;
    else if (anew) element.scrollTop = 0;
    else if (shift) element.scrollTop += shift;
    last.current.top = element.scrollTop;
    look();
  });

  return (
    <div class={wrap ? "lines wrap" : "lines"} ref={box} onScroll={look} tabIndex={0} role="log" aria-live="off" aria-label="Log">
      {rows.length === 0 && !log.loading.value && !log.error.value && <Nothing searched={Boolean(needle)} />}
      <div style={{ height: layout.top(begin) }} />
      <div ref={list}>
        {rows.slice(begin, end).map((row) => <Line key={row.sequence} row={row} times={times} needle={needle} startMs={startMs} />)}
      </div>
      <div style={{ height: layout.top(rows.length) - layout.top(end) }} />
    </div>
  );
}

interface Layout {
  /** Where line `index` begins, in pixels. */
  top(index: number): number;
  /** The index of the line at that height. */
  at(y: number): number;
}

function uniform(length: number): Layout {
  return { top: (index) => index * ROW, at: (y) => clamp(Math.floor(y / ROW), length) };
}

function measured(rows: readonly LogRow[], heights: ReadonlyMap<number, number>): Layout {
  const tops = new Float64Array(rows.length + 1);
  rows.forEach((row, index) => {
    tops[index + 1] = tops[index]! + (heights.get(row.sequence) ?? ROW);
  });
  const at = (y: number): number => {
    let low = 0;
    let high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (tops[middle + 1]! <= y) low = middle + 1;
      else high = middle;
    }
    return clamp(low, rows.length);
  };
  return { top: (index) => tops[index]!, at };
}

function clamp(index: number, length: number): number {
  return Math.max(0, Math.min(index, length - 1));
}

/** Notes how high the drawn lines are; by how much those above the line `looked` at have grown. */
function measure(
  list: HTMLElement, rows: readonly LogRow[], begin: number, looked: number, heights: Map<number, number>,
): number {
  let shift = 0;
  [...list.children].forEach((element, position) => {
    const row = rows[begin + position];
    if (!row) return;
    const height = (element as HTMLElement).offsetHeight;
    const known = heights.get(row.sequence) ?? ROW;
    if (height === known) return;
    heights.set(row.sequence, height);
    if (begin + position < looked) shift += height - known;
  });
  return shift;
}

interface LineProps {
  row: LogRow;
  times: Times;
  needle: string;
  startMs: number;
}

function Line({ row, times, needle, startMs }: LineProps) {
  return (
    <div class={`line ${row.level}`}>
      {times !== "none" && <time title={dateTime(row.timestampMs)}>{stamp(row.timestampMs, times, startMs)}</time>}
      <span class="level" title={`${row.source}, line ${row.sequence.toLocaleString("en-US")}`}>{row.level}</span>
      <span class="message">
        {pieces(row.message.replaceAll("\n", "↵ ")).map(({ text, classes, color, background }) => (
          <span class={classes} style={color || background ? { color, background } : undefined}>{marked(text, needle)}</span>
        ))}
        {row.truncated && <span class="muted" title="The line was longer than 8 KiB"> …</span>}
      </span>
    </div>
  );
}

/** The text with what was searched for made visible. */
function marked(text: string, needle: string) {
  if (!needle) return text;
  const lower = text.toLowerCase();
  // Lower case may have another length (İ): then positions do not agree, and nothing is marked.
  if (lower.length !== text.length) return text;
  const parts = [];
  let from = 0;
  for (let at = lower.indexOf(needle.toLowerCase()); at >= 0; at = lower.indexOf(needle.toLowerCase(), from)) {
    parts.push(text.slice(from, at), <mark>{text.slice(at, at + needle.length)}</mark>);
    from = at + needle.length;
  }
  return [...parts, text.slice(from)];
}

function stamp(timeMs: number, times: Times, startMs: number): string {
  if (times === "since start") return ((timeMs - startMs) / 1000).toFixed(3);
  const time = new Date(timeMs);
  const two = (part: number) => String(part).padStart(2, "0");
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

function Nothing({ searched }: { searched: boolean }) {
  if (searched) return <p class="empty">No line matches.</p>;
  return (
    <p class="empty">
      No log lines yet. <code>run.log_text("…")</code> writes one; <code>rd.init(capture_console=True)</code> keeps what is printed.
    </p>
  );
}
