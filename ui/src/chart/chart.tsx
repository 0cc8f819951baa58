import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Marker, XAxis } from "../api";
import { dark, runColor, runDash } from "../colors";
import { dateTime, duration, number, plain } from "../format";
import type { Hover } from "./hover";
import { type CursorAt, type PlacedMarker, Plot, type Reading, type Scene } from "./plot";
import type { SeriesStore } from "./store";
import { chartView, setZoom } from "./view";

export interface ChartRun {
  name: string;
  startedAtMs: number;
}

/** What the charts of a view share. */
export interface ChartContext {
  store: SeriesStore;
  /** The runs that are shown, in the order of the table. */
  runs: ReadonlyMap<string, ChartRun>;
  markers: ReadonlyMap<string, readonly Marker[]>;
  hover: Hover;
  /** The axis of these charts, whatever the address says. */
  x?: XAxis;
}

const SHOWN_IN_LEGEND = 8;

/** One metric over all shown runs. Its data is fetched, and its canvas exists, only while it is near the screen. */
export function Chart({ metric, context }: { metric: string; context: ChartContext }) {
  const box = useRef<HTMLElement>(null);
  const near = useSignal(false);
  useEffect(() => {
    const observer = new IntersectionObserver(
      (entries) => {
        near.value = entries.at(-1)!.isIntersecting;
      },
      { rootMargin: "200px" },
    );
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return (
    <figure class="chart" ref={box}>
      {near.value ? <Live metric={metric} context={context} /> : <figcaption>{lastPart(metric)}</figcaption>}
    </figure>
  );
}

function Live({ metric, context }: { metric: string; context: ChartContext }) {
  const { store, runs, hover } = context;
  const cursor = useSignal<CursorAt | null>(null);
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const { log, smoothing, zoom } = chartView.value;
  const x = context.x ?? chartView.value.x;
  const data = store.chart(metric);
  const version = data.version.value;
  const theme = dark.value;

  useEffect(() => store.want(metric), [metric]);

  useEffect(() => {
    const element = host.current!;
    const made = new Plot(element, { x, log }, {
      zoom: setZoom,
      reset: () => setZoom(null),
      cursor: (at) => {
        if (at?.here) hover.now.value = at.nearest;
        else if (!at && cursor.value?.here) hover.now.value = null;
        cursor.value = at;
      },
    });
    plot.current = made;
    const resizing = new ResizeObserver(() => made.resize(element.clientWidth, element.clientHeight));
    resizing.observe(element);
    return () => {
      resizing.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [x, log, theme]);

  const hovered = cursor.value?.here ? hover.now.value : hover.settled.value;
  const scene: Scene = { ...sceneOf(metric, context, x), smoothing, zoom, hovered };
  useEffect(() => plot.current?.draw(scene), [version, x, log, theme, smoothing, zoom, hovered, runs, context.markers]);

  const loaded = [...runs.keys()].every((runId) => data.lines.has(runId));
  const points = scene.strokes.reduce((sum, stroke) => sum + stroke.line.length, 0);
  const last = scene.strokes[0]?.line.last ?? null;
  const alone = runs.size === 1;
  return (
    <>
      <figcaption>
        <span class="title" title={metric}>{lastPart(metric)}</span>
        {alone && <Value reading={cursor.value?.readings[0]} last={last} at={cursor.value} x={x} />}
      </figcaption>
      <div
        class={loaded ? "plot" : "plot loading"}
        ref={host}
        role="img"
        aria-label={`${metric}, ${runs.size === 1 ? "last value " + (last === null ? "none" : number(last)) : runs.size + " runs"}`}
        data-metric={metric}
        data-points={points}
        data-last={last ?? ""}
        data-loaded={loaded}
      />
      {loaded && points === 0 && <p class="nothing">{zoom ? "No values in this range" : "No values yet"}</p>}
      {cursor.value?.here && <Tooltip at={cursor.value} runs={runs} x={x} alone={alone} hovered={hovered} />}
    </>
  );
}

function sceneOf(metric: string, { store, runs, markers }: ChartContext, x: XAxis): Pick<Scene, "strokes" | "markers"> {
  const { lines } = store.chart(metric);
  const strokes = [...runs.keys()].flatMap((runId) => {
    const line = lines.get(runId);
    return line ? [{ runId, line, color: runColor(runId), dash: runDash(runId) }] : [];
  });
  const placed: PlacedMarker[] = [];
  for (const [runId, run] of runs) {
    for (const marker of markers.get(runId) ?? []) {
      const bad = marker.kind === "non_finite";
      if (bad && marker.name !== metric) continue;
      const stage = marker.kind === "stage" ? marker.name : null;
      const at = { step: marker.step, relative: (marker.timeMs - run.startedAtMs) / 1000, wall: marker.timeMs / 1000 }[x];
      if (at !== null) placed.push({ x: at, marker, bad, stage });
    }
  }
  return { strokes, markers: placed };
}

interface ValueProps {
  reading: Reading | undefined;
  last: number | null;
  at: CursorAt | null;
  x: XAxis;
}

/** The value at the cursor, or the last one while there is no cursor. */
function Value({ reading, last, at, x }: ValueProps) {
  if (!at || !reading) return <output class="value">{last === null ? "" : number(last)}</output>;
  return (
    <output class="value" title={`${reading.value}`}>
      <span class="at">{position(at.x, x)}</span> {number(reading.value)}
      {reading.min < reading.max && <span class="at"> {number(reading.min)}…{number(reading.max)}</span>}
    </output>
  );
}

interface TooltipProps {
  at: CursorAt;
  runs: ReadonlyMap<string, ChartRun>;
  x: XAxis;
  alone: boolean;
  hovered: string | null;
}

function Tooltip({ at, runs, x, alone, hovered }: TooltipProps) {
  if (alone && !at.markers.length) return null;
  const shown = at.readings.filter((reading, index) => index < SHOWN_IN_LEGEND || reading.runId === hovered);
  const side = at.left > at.width / 2 ? "tooltip left" : "tooltip right";
  return (
    <div class={side}>
      {at.markers.slice(0, SHOWN_IN_LEGEND).map((marker) => (
        <p class={marker.kind === "non_finite" ? "bad" : ""}>{markerText(marker)}</p>
      ))}
      {!alone && (
        <>
          <p class="at">{position(at.x, x)}</p>
          {shown.map(({ runId, value }) => (
            <p class={runId === hovered ? "reading hovered" : "reading"}>
              <i class="swatch" style={{ background: runColor(runId) }} />
              <span class="name">{runs.get(runId)?.name}</span>
              <b>{number(value)}</b>
            </p>
          ))}
          {at.readings.length > shown.length && <p class="at">and {at.readings.length - shown.length} more</p>}
        </>
      )}
    </div>
  );
}

export function markerText({ kind, name, step, attrs }: Marker): string {
  const where = step === null ? "" : ` at step ${number(step)}`;
  const details = Object.entries(attrs).map(([key, value]) => `${key} ${plain(value)}`);
  const what = kind === "non_finite" ? `${name} was not finite` : name === kind ? kind : `${kind}: ${name}`;
  return what + where + (details.length ? ` (${details.join(", ")})` : "");
}

function position(value: number, x: XAxis): string {
  if (x === "step") return `step ${Math.round(value).toLocaleString("en-US")}`;
  return x === "wall" ? dateTime(value * 1000) : duration(value * 1000);
}

/** The section's heading says the rest. */
function lastPart(metric: string): string {
  return metric.slice(metric.indexOf("/") + 1) || metric;
}
