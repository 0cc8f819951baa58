// The charts of an exported page: as those of the server's page, over lines that are all here.
import { type Signal, useComputed, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { type CursorAt, type PlacedMarker, Plot, type Stroke } from "../chart/plot";
import { Swatch, Tooltip, Value } from "../chart/tooltip";
import { metricFilter, type Range, sections } from "../chart/view";
import { dark, placeColor, placeDash } from "../colors";
import { lineOf, type Report, type ReportAxis } from "./data";

const AXES: [ReportAxis, string][] = [["step", "step"], ["relative", "relative time"], ["wall", "wall time"]];

export interface Look {
  x: Signal<ReportAxis>;
  smoothing: Signal<number>;
  log: Signal<boolean>;
  zoom: Signal<Range | null>;
  filter: Signal<string>;
  hovered: Signal<string | null>;
  hidden: Signal<ReadonlySet<number>>;
}

export function Charts({ report }: { report: Report }) {
  const look: Look = {
    x: useSignal<ReportAxis>("step"),
    smoothing: useSignal(0),
    log: useSignal(false),
    zoom: useSignal<Range | null>(null),
    filter: useSignal(""),
    hovered: useSignal<string | null>(null),
    hidden: useSignal<ReadonlySet<number>>(new Set()),
  };
  const names = Object.keys(report.charts.step);
  const shown = useComputed(() => sections(names.filter(metricFilter(look.filter.value).matches)));
  if (!names.length) return null;
  return (
    <section aria-label="Charts">
      <h2>Charts</h2>
      <Controls look={look} />
      <Lines report={report} look={look} />
      {shown.value.map(({ name, members }) => (
        <section key={name} aria-label={name || "Metrics"}>
          {name && <h3>{name}</h3>}
          <div class="charts">
            {members.map((metric) => <Chart key={`${look.x.value} ${metric}`} metric={metric} report={report} look={look} />)}
          </div>
        </section>
      ))}
    </section>
  );
}

function Controls({ look }: { look: Look }) {
  return (
    <div class="controls chart-controls">
      <label>
        x
        <select
          aria-label="x axis" value={look.x.value}
          onChange={(event) => {
            look.zoom.value = null;
            look.x.value = event.currentTarget.value as ReportAxis;
          }}
        >
          {AXES.map(([value, words]) => <option key={value} value={value}>{words}</option>)}
        </select>
      </label>
      <label>
        smoothing
        <input
          type="range" min="0" max="0.99" step="0.01" aria-label="smoothing" value={look.smoothing.value}
          onInput={(event) => (look.smoothing.value = Number(event.currentTarget.value))}
        />
        <output>{look.smoothing.value.toFixed(2)}</output>
      </label>
      <label>
        <input type="checkbox" checked={look.log.value} onChange={(event) => (look.log.value = event.currentTarget.checked)} /> log y
      </label>
      {look.zoom.value && <button onClick={() => (look.zoom.value = null)} title="A double click on a chart does the same">reset zoom</button>}
      <input
        type="search" class="filter" placeholder="filter metrics" aria-label="Filter metrics by a regular expression"
        value={look.filter.value} onInput={(event) => (look.filter.value = event.currentTarget.value)}
      />
    </div>
  );
}

/** The runs by colour; a click takes one out of the charts, or puts it back. */
function Lines({ report, look }: { report: Report; look: Look }) {
  const toggle = (place: number) => {
    const next = new Set(look.hidden.value);
    if (!next.delete(place)) next.add(place);
    look.hidden.value = next;
  };
  return (
    <ul class="legend" aria-label="Lines">
      {report.runs.map((run, place) => (
        <li
          key={run.runId} class={run.runId === look.hovered.value ? "hovered" : ""} title={run.runName}
          onPointerEnter={() => (look.hovered.value = run.runId)} onPointerLeave={() => (look.hovered.value = null)}
        >
          <button class="quiet" aria-pressed={!look.hidden.value.has(place)} onClick={() => toggle(place)}>
            <Swatch color={placeColor(place)} dash={placeDash(place)} />
            <span class={look.hidden.value.has(place) ? "name off" : "name"}>{run.runName}</span>
          </button>
        </li>
      ))}
    </ul>
  );
}

function Chart({ metric, report, look }: { metric: string; report: Report; look: Look }) {
  const box = useRef<HTMLElement>(null);
  const near = useSignal(false);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => (near.value = entries.at(-1)!.isIntersecting), { rootMargin: "200px" });
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  return (
    <figure class="chart" ref={box} data-chart={metric}>
      {near.value ? <Live metric={metric} report={report} look={look} /> : <figcaption>{metric}</figcaption>}
    </figure>
  );
}

function Live({ metric, report, look }: { metric: string; report: Report; look: Look }) {
  const x = look.x.value;
  const log = look.log.value;
  const theme = dark.value;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const cursor = useSignal<CursorAt | null>(null);
  const lines = useMemo(() => report.charts[x][metric]?.map((columns) => columns && lineOf(columns)) ?? [], [x, metric]);
  const hidden = look.hidden.value;
  const strokes = useMemo(
    () =>
      lines.flatMap((line, place): Stroke[] => {
        const run = report.runs[place]!;
        const drawn = line && !hidden.has(place);
        return drawn ? [{ id: run.runId, name: run.runName, line, color: placeColor(place), dash: placeDash(place) }] : [];
      }),
    [lines, hidden, theme],
  );
  const markers = useMemo(() => placed(report, metric, x, hidden), [x, metric, hidden]);

  useEffect(() => {
    const element = host.current!;
    const made = new Plot(element, { x, log, logX: false }, {
      zoom: (range) => (look.zoom.value = range),
      reset: () => (look.zoom.value = null),
      cursor: (at) => {
        if (at?.here) look.hovered.value = at.nearest;
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

  const zoom = look.zoom.value;
  const smoothing = look.smoothing.value;
  const hovered = look.hovered.value;
  useEffect(() => {
    plot.current?.draw({ strokes, markers, smoothing, smoother: "ema", clip: false, zoom, hovered });
  }, [strokes, markers, x, log, theme, smoothing, String(zoom), hovered]);

  const alone = strokes.length === 1;
  const last = strokes[0]?.line.last ?? null;
  return (
    <>
      <figcaption>
        <span class="title" title={metric}>{metric}</span>
        {alone && <Value reading={cursor.value?.readings[0]} last={last} at={cursor.value} x={x} />}
      </figcaption>
      <div
        class="plot" ref={host} role="img" aria-label={`${metric}, ${report.runs.length} runs`}
        data-metric={metric} data-lines={strokes.length} data-markers={markers.length} data-zoom={zoom ? zoom.join(" ") : ""}
      />
      {cursor.value?.here && <Tooltip at={cursor.value} x={x} alone={alone} hovered={hovered} plot={host.current!} />}
    </>
  );
}

function placed(report: Report, metric: string, x: ReportAxis, hidden: ReadonlySet<number>): PlacedMarker[] {
  const alone = report.runs.length === 1;
  return report.runs.flatMap((run, place) =>
    (hidden.has(place) ? [] : report.markers[place] ?? []).flatMap((marker): PlacedMarker[] => {
      if (marker.kind === "non_finite" && marker.name !== metric) return [];
      const at = x === "step" ? marker.step : (marker.timeMs - (x === "wall" ? 0 : run.startedAtMs)) / 1000;
      return at === null ? [] : [{ x: at, marker, name: alone ? null : run.runName, color: alone ? null : placeColor(place) }];
    }),
  );
}
