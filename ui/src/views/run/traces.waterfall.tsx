import { useSignal } from "@preact/signals";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { setQuery } from "../../router";
import type { Span, WholeTrace } from "./traces.api";
import { between, lasted } from "./traces.words";

const ROW = 22;
const SPARE_ROWS = 10;
const TICKS = [0, 0.25, 0.5, 0.75];
const KINDS = ["internal", "client", "server", "producer", "consumer", "tool"];

interface Line {
  span: Span;
  depth: number;
  children: number;
}

/** The spans as lines, children below their parents by start; those of a folded span are left out. */
function linesOf(spans: Span[], folded: ReadonlySet<string>): Line[] {
  const known = new Set(spans.map((span) => span.spanId));
  const children = new Map<string | null, Span[]>();
  for (const span of spans) {
    const parent = span.parentSpanId !== null && known.has(span.parentSpanId) ? span.parentSpanId : null;
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const lines: Line[] = [];
  const seen = new Set<string>();
  const walk = (roots: Span[], hidden: boolean) => {
    const waiting = roots.map((span) => ({ span, depth: 0, hidden })).reverse();
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const { span, depth } = next;
      if (seen.has(span.spanId)) continue;
      seen.add(span.spanId);
      const inner = children.get(span.spanId) ?? [];
      if (!next.hidden) lines.push({ span, depth, children: inner.length });
      const hides = next.hidden || folded.has(span.spanId);
      waiting.push(...inner.map((child) => ({ span: child, depth: depth + 1, hidden: hides })).reverse());
    }
  };
  walk(children.get(null) ?? [], false);
  // Spans that name each other as parents hang on no root.
  for (const span of spans) if (!seen.has(span.spanId)) walk([span], false);
  return lines;
}

export function Waterfall({ trace, chosen }: { trace: WholeTrace; chosen: string }) {
  const folded = useSignal<ReadonlySet<string>>(new Set());
  const view = useSignal({ top: 0, height: 600 });
  const box = useRef<HTMLDivElement>(null);
  const lines = useMemo(() => linesOf(trace.spans, folded.value), [trace.spans, folded.value]);
  const place = lines.findIndex((line) => line.span.spanId === chosen);
  const measure = () => {
    const element = box.current;
    if (element) view.value = { top: element.scrollTop, height: element.clientHeight };
  };
  useLayoutEffect(() => {
    const observer = new ResizeObserver(measure);
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    const element = box.current!;
    if (place < 0) return;
    if (place * ROW < element.scrollTop) element.scrollTop = place * ROW;
    else if ((place + 1) * ROW > element.scrollTop + element.clientHeight) {
      element.scrollTop = (place + 1) * ROW - element.clientHeight;
    }
  }, [place]);
  const toggle = (spanId: string, fold = !folded.value.has(spanId)) => {
    const next = new Set(folded.value);
    if (fold) next.add(spanId);
    else next.delete(spanId);
    folded.value = next;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const next = step && lines[place + step];
    if (next) setQuery({ span: next.span.spanId });
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") toggle(chosen, event.key === "ArrowLeft");
    else return;
    event.preventDefault();
  };
  const total = Math.max(Number(trace.durationNs), 1);
  const first = Math.max(0, Math.floor(view.value.top / ROW) - SPARE_ROWS);
  const last = Math.ceil((view.value.top + view.value.height) / ROW) + SPARE_ROWS;
  const shown = KINDS.filter((kind) => trace.spans.some((span) => span.kind === kind));
  return (
    <>
      <div class="axis" aria-hidden="true">
        <span class="legend">{shown.map((kind) => <span key={kind}><i class={`kind ${kind}`} />{kind}</span>)}</span>
        <span class="ticks">
          {TICKS.map((part) => <span key={part} style={{ left: `${part * 100}%` }}>{part ? lasted(part * total) : "0"}</span>)}
        </span>
      </div>
      <div class="waterfall" role="tree" aria-label="spans" tabIndex={0} ref={box} onScroll={measure} onKeyDown={onKeyDown}>
        <div style={{ height: `${lines.length * ROW}px`, position: "relative" }}>
          {lines.slice(first, last).map((line, index) => (
            <Bar
              key={line.span.spanId} line={line} top={(first + index) * ROW} trace={trace} total={total}
              chosen={line.span.spanId === chosen} folded={folded.value.has(line.span.spanId)}
              toggle={() => toggle(line.span.spanId)}
            />
          ))}
        </div>
      </div>
    </>
  );
}

interface BarProps {
  line: Line;
  top: number;
  trace: WholeTrace;
  total: number;
  chosen: boolean;
  folded: boolean;
  toggle(): void;
}

function Bar({ line, top, trace, total, chosen, folded, toggle }: BarProps) {
  const { span, depth, children } = line;
  const start = (between(trace.startNs, span.startNs) / total) * 100;
  const length = between(span.startNs, span.endNs);
  const width = (length / total) * 100;
  const side = start + width <= 80 ? "after" : start > 20 ? "before" : "inside";
  const unfinished = span.attrs["rundial.unfinished"] === true;
  const words = lasted(length) + (unfinished ? ", unfinished" : "");
  return (
    <div
      class="span-row" role="treeitem" aria-level={depth + 1} aria-selected={chosen}
      aria-expanded={children ? !folded : undefined} style={{ top: `${top}px` }} title={`${span.name} · ${words}`}
      onClick={() => setQuery({ span: span.spanId })}
    >
      <span class="label" style={{ paddingLeft: `${Math.min(depth, 24) * 12}px` }}>
        {children
          ? <button class="quiet fold" tabIndex={-1} aria-label={folded ? "unfold" : "fold"} onClick={(event) => { event.stopPropagation(); toggle(); }}>{folded ? "▸" : "▾"}</button>
          : <span class="fold" />}
        {span.status === "error" && <b class="bad" title="error">✕</b>}
        <span class="name">{span.name || "(no name)"}</span>
        {folded && <span class="muted">+{children}</span>}
      </span>
      <span class="lane">
        <i
          class={`kind ${span.kind} ${span.status}${unfinished ? " unfinished" : ""}`}
          style={{ left: `${Math.min(start, 99.8)}%`, width: `max(2px, ${width}%)` }}
        />
        <span class={`length ${side}`} style={side === "before" ? { right: `${100 - start}%` } : { left: `${side === "inside" ? start : start + width}%` }}>
          {words}
        </span>
      </span>
    </div>
  );
}
