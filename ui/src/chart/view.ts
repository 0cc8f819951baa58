// How the charts of a view are looked at: all of it stands in the address.
import { computed } from "@preact/signals";
import type { XAxis } from "../api";
import { route, setQuery } from "../router";

export type Range = readonly [from: number, to: number];

/** A part of one axis; charts over another axis are not concerned. */
export interface Zoom {
  x: XAxis;
  range: Range;
}

export type Smoother = "ema" | "gaussian";
/** What the band of a grouped mean says: all there was, or one standard deviation to both sides. */
export type Band = "range" | "std";

export interface ChartView {
  /** Null where nobody has chosen: each metric then has its own, the step unless the run defined another. */
  x: XAxis | null;
  logX: boolean;
  log: boolean;
  /** Weight of the past in the moving average, 0 to 0.99; for a Gaussian, of equal reach. */
  smoothing: number;
  smoother: Smoother;
  /** Whether the axis leaves out what lies far from the rest. */
  clip: boolean;
  zoom: Zoom | null;
  /** Which metrics, as a regular expression; empty for all. */
  metrics: string;
  /** Kinds of markers that are not drawn. */
  hidden: ReadonlySet<string>;
  /** The field by whose values runs are summed up, one line for each value. */
  group: string | null;
  band: Band;
  /** The metric that fills the screen. */
  full: string | null;
  /** Whether metrics that runs have defined as hidden are drawn all the same. */
  all: boolean;
}

const TIMES: readonly string[] = ["step", "relative", "wall"];
const METRIC = "metric:";
const MAX_SMOOTHING = 0.99;

export const chartView = computed<ChartView>(() => {
  const query = route.value.query;
  return {
    x: parseX(query.get("x")),
    logX: query.get("logx") === "1",
    log: query.get("log") === "1",
    smoothing: clamped(Number(query.get("smooth"))),
    smoother: query.get("smoother") === "gaussian" ? "gaussian" : "ema",
    clip: query.get("clip") === "1",
    zoom: parseZoom(query.get("zoom")),
    metrics: query.get("m") ?? "",
    hidden: new Set((query.get("hide") ?? "").split(",").filter(Boolean).map(decodeURIComponent)),
    group: query.get("group"),
    band: query.get("band") === "std" ? "std" : "range",
    full: query.get("full"),
    all: query.get("all") === "1",
  };
});

function parseX(text: string | null): XAxis | null {
  return text !== null && (TIMES.includes(text) || text.startsWith(METRIC)) ? (text as XAxis) : null;
}

export function metricAxis(key: string): XAxis {
  return `${METRIC}${key}`;
}

/** The metric that is the axis; null for step and times. */
export function axisMetric(x: XAxis): string | null {
  return x.startsWith(METRIC) ? x.slice(METRIC.length) : null;
}

function clamped(weight: number): number {
  return Number.isFinite(weight) ? Math.min(MAX_SMOOTHING, Math.max(0, weight)) : 0;
}

function parseZoom(text: string | null): Zoom | null {
  const [from, to, ...axis] = (text ?? "").split("~");
  const range: Range = [Number(from), Number(to)];
  if (!text || !range.every(Number.isFinite) || range[0] >= range[1]) return null;
  return { range, x: parseX(axis.join("~")) ?? "step" };
}

export function zoomOf(zoom: Zoom | null, x: XAxis): Range | null {
  return zoom?.x === x ? zoom.range : null;
}

export function setZoom(zoom: Zoom | null): void {
  const edges = zoom?.range.map((edge) => String(Number(edge.toPrecision(12)))) ?? [];
  setQuery({ zoom: zoom && [...edges, ...(zoom.x === "step" ? [] : [zoom.x])].join("~") }, true);
}

/** A zoom is in units of the old axis and means nothing on the new one. */
export function setX(x: XAxis | null): void {
  setQuery({ x, zoom: null }, true);
}

/** Changes one of the switches. */
export function setSwitch(name: "log" | "logx" | "clip" | "all", on: boolean): void {
  setQuery({ [name]: on ? "1" : null }, true);
}

export function setSmoothing(weight: number): void {
  const text = clamped(weight).toFixed(2);
  setQuery({ smooth: text === "0.00" ? null : text });
}

export function setHidden(kinds: Iterable<string>): void {
  setQuery({ hide: [...kinds].map(encodeURIComponent).join(",") }, true);
}

export interface Section<T> {
  name: string;
  members: T[];
}

/** Metric keys by what stands before their first `/`; keys without one come first, `system` last. */
export function sections(keys: readonly string[]): Section<string>[] {
  const byName = new Map<string, string[]>();
  for (const key of [...keys].sort((a, b) => a.localeCompare(b, "en", { numeric: true }))) {
    const name = key.includes("/") ? key.slice(0, key.indexOf("/")) : "";
    byName.set(name, [...(byName.get(name) ?? []), key]);
  }
  const rank = (name: string) => (name === "" ? 0 : name === "system" ? 2 : 1);
  return [...byName]
    .map(([name, members]) => ({ name, members }))
    .sort((a, b) => rank(a.name) - rank(b.name) || a.name.localeCompare(b.name, "en", { numeric: true }));
}

export interface MetricFilter {
  matches(key: string): boolean;
  /** Why the text is no regular expression; it is then taken literally. */
  problem: string | null;
}

export function metricFilter(text: string): MetricFilter {
  try {
    const pattern = new RegExp(text, "i");
    return { matches: (key) => pattern.test(key), problem: null };
  } catch (error) {
    // Half-typed expressions are no expressions yet.
    const why = String(error instanceof Error ? error.message : error).split(": ").at(-1)!;
    return { matches: (key) => key.toLowerCase().includes(text.toLowerCase()), problem: why };
  }
}
