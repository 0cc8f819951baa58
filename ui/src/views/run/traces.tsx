import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { count } from "../../format";
import { Copyable, Failure } from "../../parts/notice";
import { Ago } from "../../parts/time";
import { route, setQuery } from "../../router";
import type { RunModel } from "./model";
import type { Trace } from "./traces.api";
import { OpenTrace, TraceList } from "./traces.model";
import { SpanPanel } from "./traces.span";
import { Waterfall } from "./traces.waterfall";
import { amounts, lasted, milliseconds } from "./traces.words";
import "./traces.css";

const SNIPPET = [
  'with run.trace("agent.step") as span:',
  '    span.set_attrs(question="Who was Ada Lovelace?")',
  '    run.tool_call("search", input={"q": "Ada Lovelace"}, output="a mathematician")',
].join("\n");

/** The tab: a list of traces, and one of them opened. What is chosen is in the address. */
export function Traces({ run, model }: { run: RunDetail; model: RunModel }) {
  const query = route.value.query;
  const [open, text, errors] = [query.get("trace"), query.get("find") ?? "", query.get("errors") === "1"];
  const more = model.more.value.spans ?? 0;
  const list = useMemo(() => new TraceList(run.runId), [run.runId]);
  useEffect(() => () => list.close(), [list]);
  useEffect(() => list.load(text, errors), [list, text, errors, more]);
  const rows = list.rows.value;
  const failure = list.error.value && <Failure error={list.error.value} retry={() => list.load(text, errors)} />;
  if (!rows) return failure || <p class="empty">Loading the traces …</p>;
  if (!rows.length && !text && !errors) return <Nothing />;
  return (
    <div class={open ? "traces opened" : "traces"}>
      <section class="trace-list" aria-label="traces">
        <div class="controls">
          <input
            type="search" placeholder="find in names" aria-label="find in names" value={text}
            onInput={(event) => setQuery({ find: event.currentTarget.value })}
          />
          <label>
            <input
              type="checkbox" checked={errors}
              onChange={(event) => setQuery({ errors: event.currentTarget.checked ? "1" : null }, true)}
            />
            errors only
          </label>
        </div>
        {failure}
        {list.arrived.value > 0 && (
          <button class="arrived" onClick={() => list.showArrived()}>{count(list.arrived.value, "new trace")}</button>
        )}
        {!rows.length && <p class="empty">No trace matches.</p>}
        <ol>{rows.map((trace) => <Row key={trace.traceId} trace={trace} open={trace.traceId === open} />)}</ol>
        {list.hasMore.value && <button class="older" onClick={() => void list.older()}>older traces</button>}
      </section>
      {open
        ? <Opened key={open} run={run} traceId={open} more={more} />
        : <p class="empty choose">Choose a trace to see its spans.</p>}
    </div>
  );
}

function Nothing() {
  return (
    <div class="empty">
      <p>No traces yet. This records one:</p>
      <Copyable text={SNIPPET} block />
    </div>
  );
}

function Row({ trace, open }: { trace: Trace; open: boolean }) {
  const sums = [count(trace.spans, "span"), ...amounts(trace)].join(" · ");
  return (
    <li>
      <button
        class="trace-row" aria-current={open ? "true" : undefined} title={`${trace.rootName}\n${trace.traceId}`}
        onClick={() => setQuery({ trace: trace.traceId, span: null }, true)}
      >
        <span class="name">{trace.rootName || "(no name)"}</span>
        <span class="figure">{lasted(Number(trace.durationNs))}</span>
        <span class="sums">{trace.errors > 0 && <b class="bad">✕ {count(trace.errors, "error")} · </b>}{sums}</span>
        <span class="figure when"><Ago timeMs={milliseconds(trace.startNs)} /></span>
      </button>
    </li>
  );
}

function Opened({ run, traceId, more }: { run: RunDetail; traceId: string; more: number }) {
  const opened = useMemo(() => new OpenTrace(run.runId, traceId), []);
  useEffect(() => () => opened.close(), []);
  useEffect(() => opened.load(), [more]);
  const trace = opened.trace.value;
  const failure = opened.error.value && <Failure error={opened.error.value} retry={() => opened.load()} />;
  if (!trace) return <div>{failure || <p class="empty">Loading the trace …</p>}</div>;
  const wanted = route.value.query.get("span");
  const chosen = trace.spans.find((span) => span.spanId === wanted) ?? trace.spans[0]!;
  return (
    <div class="trace">
      <div class="trace-main">
        {failure}
        <p class="trace-line">
          <b>{trace.rootName || "(no name)"}</b>
          <span class="figure">{lasted(Number(trace.durationNs))}</span>
          <span>{count(trace.spanCount, "span")}</span>
          {trace.errors > 0 && <span class="bad">✕ {count(trace.errors, "error")}</span>}
          {amounts(trace).map((words) => <span key={words} class="figure">{words}</span>)}
          <span class="space" />
          <button class="quiet" onClick={() => setQuery({ trace: null, span: null }, true)}>close</button>
        </p>
        {trace.truncated && (
          <p class="notice">The first {trace.spans.length.toLocaleString("en-US")} of {count(trace.spanCount, "span")} are shown.</p>
        )}
        <Waterfall trace={trace} chosen={chosen.spanId} />
      </div>
      <SpanPanel key={chosen.spanId} run={run} span={chosen} traceStartNs={trace.startNs} />
    </div>
  );
}
