// How the charts of a view are looked at: all of it stands in the address.
import { computed } from "@preact/signals";
import type { XAxis } from "../api";
import { route, setQuery } from "../router";

export type Range = readonly [from: number, to: number];

export interface ChartView {
  x: XAxis;
  log: boolean;
  /** Weight of the past in the moving average, 0 to 0.99. */
  smoothing: number;
  zoom: Range | null;
  /** Which metrics, as a regular expression; empty for all. */
  metrics: string;
}

const X_AXES: readonly string[] = ["step", "relative", "wall"];
const MAX_SMOOTHING = 0.99;

export const chartView = computed<ChartView>(() => {
  const query = route.value.query;
  const x = query.get("x") ?? "step";
  return {
    x: X_AXES.includes(x) ? (x as XAxis) : "step",
    log: query.get("log") === "1",
    smoothing: clamped(Number(query.get("smooth"))),
    zoom: parseZoom(query.get("zoom")),
    metrics: query.get("m") ?? "",
  };
});

function clamped(weight: number): number {
  return Number.isFinite(weight) ? Math.min(MAX_SMOOTHING, Math.max(0, weight)) : 0;
}

function parseZoom(text: string | null): Range | null {
  const [from, to] = (text ?? "").split("~").map(Number);
  return text && Number.isFinite(from) && Number.isFinite(to) && from! < to! ? [from!, to!] : null;
}

export function setZoom(range: Range | null): void {
  setQuery({ zoom: range && range.map((edge) => String(Number(edge.toPrecision(12)))).join("~") }, true);
}

/** A zoom is in units of the old axis and means nothing on the new one. */
export function setX(x: XAxis): void {
  setQuery({ x: x === "step" ? null : x, zoom: null }, true);
}

export function setLog(log: boolean): void {
  setQuery({ log: log ? "1" : null }, true);
}

export function setSmoothing(weight: number): void {
  const text = clamped(weight).toFixed(2);
  setQuery({ smooth: text === "0.00" ? null : text });
}

export interface Section<T> {
  name: string;
  members: T[];
}

/** Metric keys by what stands before their first `/`; keys without one come first, `system` last. */
export function sections(keys: string[]): Section<string>[] {
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

/** A test for metric names, and whether the text was a regular expression; if not, it is taken literally. */
export function metricFilter(text: string): { matches: (key: string) => boolean; valid: boolean } {
  try {
    const pattern = new RegExp(text, "i");
    return { matches: (key) => pattern.test(key), valid: true };
  } catch {
    // Half-typed expressions are no expressions yet.
    return { matches: (key) => key.toLowerCase().includes(text.toLowerCase()), valid: false };
  }
}
