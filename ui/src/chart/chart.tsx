import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { ApiError, type Marker, type XAxis } from "../api";
import { dark, placeColor, placeDash, runColor, runDash } from "../colors";
import { number } from "../format";
import { setQuery } from "../router";
import { saveCsv, saveImage, saveValues } from "./export";
import type { Ranges } from "./extent";
import { type Grouping, meanLine } from "./grouping";
import type { Hover } from "./hover";
import type { Line } from "./line";
import type { StepLines } from "./markers";
import { type CursorAt, type PlacedMarker, Plot, type Scene, type Stroke } from "./plot";
import type { SeriesStore } from "./store";
import { Tooltip, Value } from "./tooltip";
import { axisMetric, type ChartView, chartView, setZoom, zoomOf } from "./view";

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
  /** Where markers stand on an axis that is a metric. */
  steps: StepLines;
  hover: Hover;
  xOf(metric: string): XAxis;
  /** The groups whose means are drawn in place of the runs. */
  grouping: Grouping | null;
  pinned: ReadonlySet<string>;
  pin(metric: string): void;
}

interface ChartProps {
  metric: string;
  context: ChartContext;
  /** Whether the chart has the screen for itself. */
  full?: boolean;
  /** What stands above it; the section's heading says the rest. */
  title?: string;
}

/** One metric over all shown runs. Its data is fetched, and its canvas exists, only while it is near the screen. */
export function Chart({ metric, context, full = false, title = metric }: ChartProps) {
  const box = useRef<HTMLElement>(null);
  const near = useSignal(full);
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
    <figure class="chart" ref={box} data-chart={metric}>
      {near.value ? <Live metric={metric} context={context} full={full} title={title} /> : <figcaption>{title}</figcaption>}
    </figure>
  );
}

function Live({ metric, context, full, title }: Required<ChartProps>) {
  const { store, runs, hover, grouping } = context;
  const cursor = useSignal<CursorAt | null>(null);
  const range = useSignal<Ranges | null>(null);
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const view = chartView.value;
  const { log, logX, smoothing, smoother, clip, hidden, band } = view;
  const x = context.xOf(metric);
  const zoom = zoomOf(view.zoom, x);
  const data = store.chart(metric);
  const version = data.version.value;
  const theme = dark.value;

  useEffect(() => store.want(metric), [metric]);

  useEffect(() => {
    const element = host.current!;
    const made = new Plot(element, { x, log, logX }, {
      zoom: (range) => setZoom({ range, x }),
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
  }, [x, log, logX, theme]);

  const strokes = useMemo(() => strokesOf(metric, context, view), [version, theme, runs, grouping, band]);
  const markers = useMemo(() => placed(metric, context, x, hidden), [runs, context.markers, context.steps, x, [...hidden].join(), grouping, theme]);
  const pointed = cursor.value?.here ? hover.now.value : hover.settled.value;
  const hovered = grouping?.groupOf.get(pointed ?? "") ?? pointed;
  const scene: Scene = { strokes, markers, smoothing, smoother, clip, zoom, hovered };
  useEffect(() => {
    plot.current?.draw(scene);
    range.value = plot.current?.shown ?? null;
  }, [strokes, markers, x, log, logX, smoothing, smoother, clip, String(zoom), hovered]);

  const onValues = async () => {
    try {
      await saveValues(metric, runs);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      store.error.value = error;
    }
  };
  const loaded = [...runs.keys()].every((runId) => data.lines.has(runId));
  const points = strokes.reduce((sum, stroke) => sum + stroke.line.length, 0);
  const last = strokes[0]?.line.last ?? null;
  const alone = strokes.length === 1 && !grouping;
  return (
    <>
      <figcaption>
        <span class="title" title={metric}><bdi>{title}</bdi></span>
        <Actions
          metric={metric} context={context} full={full}
          onImage={() => plot.current && saveImage(metric, plot.current.canvas, strokes)}
          onCsv={() => saveCsv(metric, strokes, x, zoom)} onValues={onValues}
        />
        {range.value?.clipped && <span class="at" title="Outliers lie outside of the axis">clipped</span>}
        {alone && <Value reading={cursor.value?.readings[0]} last={last} at={cursor.value} x={x} />}
      </figcaption>
      <div
        class={loaded ? "plot" : "plot loading"}
        ref={host}
        role="img"
        aria-label={`${metric}, ${runs.size === 1 ? "last value " + (last === null ? "none" : number(last)) : runs.size + " runs"}`}
        data-metric={metric}
        data-x={x}
        data-shown={range.value?.x.join("~")}
        data-points={points}
        data-lines={strokes.length}
        data-markers={markers.length}
        data-last={last ?? ""}
        data-high={range.value?.y[1]}
        data-loaded={loaded}
      />
      {loaded && points === 0 && <p class="nothing">{zoom ? "No values in this range" : "No values yet"}</p>}
      {cursor.value?.here && <Tooltip at={cursor.value} x={x} alone={alone} hovered={hovered} plot={host.current!} />}
    </>
  );
}

function strokesOf(metric: string, { store, runs, grouping }: ChartContext, { band }: ChartView): Stroke[] {
  const { lines } = store.chart(metric);
  if (grouping) {
    return [...grouping.groups].flatMap(([id, { words, runIds }], place) => {
      const line = meanLine(runIds.flatMap((runId) => (runs.has(runId) ? lines.get(runId) ?? [] : [])), band);
      return line.length ? [{ id, name: words, line, color: placeColor(place), dash: placeDash(place) }] : [];
    });
  }
  return [...runs].flatMap(([runId, { name }]) => {
    const line = lines.get(runId);
    return line ? [{ id: runId, name, line, color: runColor(runId), dash: runDash(runId) }] : [];
  });
}

function placed(metric: string, { runs, markers, steps, grouping }: ChartContext, x: XAxis, hidden: ReadonlySet<string>): PlacedMarker[] {
  const found: PlacedMarker[] = [];
  const axis = steps.get(axisMetric(x) ?? "");
  const alone = runs.size === 1;
  for (const [runId, run] of runs) {
    for (const marker of markers.get(runId) ?? []) {
      if (hidden.has(marker.kind) || (marker.kind === "non_finite" && marker.name !== metric)) continue;
      const at = placeOf(marker, run.startedAtMs, x, axis?.get(runId));
      if (at !== null) found.push({ x: at, marker, name: alone ? null : run.name, color: alone || grouping ? null : runColor(runId) });
    }
  }
  return found;
}

function placeOf({ step, timeMs }: Marker, startedAtMs: number, x: XAxis, axis: Line | undefined): number | null {
  if (x === "step") return step;
  if (x === "wall") return timeMs / 1000;
  if (x === "relative") return (timeMs - startedAtMs) / 1000;
  if (!axis?.length || step === null) return null;
  // What the metric was by then, as for the values.
  const at = axis.firstAtOrAfter(step + 1) - 1;
  return at < 0 ? null : axis.mean[at]!;
}

interface ActionsProps extends Pick<ChartProps, "metric" | "context" | "full"> {
  onImage(): void;
  onCsv(): void;
  onValues(): void;
}

/** What can be done with one chart; seen while the pointer or the focus is on it. */
function Actions({ metric, context, full, onImage, onCsv, onValues }: ActionsProps) {
  const pinned = context.pinned.has(metric);
  return (
    <span class="actions">
      <button aria-pressed={pinned} aria-label={`Pin ${metric}`} title={pinned ? "Unpin" : "Pin: first of all charts"} onClick={() => context.pin(metric)}>
        {pinned ? "★" : "☆"}
      </button>
      {!full && <button aria-label={`Full screen ${metric}`} title="Full screen (f)" onClick={() => setQuery({ full: metric }, true)}>⤢</button>}
      <button aria-label={`Save ${metric} as an image`} title="Save as an image" onClick={onImage}>png</button>
      <button aria-label={`Save ${metric} as CSV`} title="Save what is drawn as CSV" onClick={onCsv}>csv</button>
      <button aria-label={`Save all values of ${metric}`} title="Save every value that was logged, as CSV" onClick={onValues}>all</button>
    </span>
  );
}
