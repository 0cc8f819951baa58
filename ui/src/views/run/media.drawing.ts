// The simple figures of Plotly as shapes: lines, points, bars, histograms and heatmaps on plain axes.

export interface PlotlyFigure {
  data: Record<string, unknown>[];
  layout?: Record<string, unknown>;
}

export interface Scale {
  low: number;
  high: number;
  log: boolean;
  /** Names in the order of their places, when the axis has names. */
  names: string[] | null;
}

export type Shape =
  | { kind: "line" | "points"; name: string; color: string; points: [x: number, y: number, words: string][] }
  | { kind: "bars"; name: string; color: string; bars: [left: number, right: number, from: number, to: number, words: string][] }
  | { kind: "cells"; name: string; cells: [left: number, right: number, bottom: number, top: number, part: number, words: string][] };

export interface Drawing {
  title: string;
  x: Scale & { title: string };
  y: Scale & { title: string };
  shapes: Shape[];
  /** Kinds of traces that are not drawn here. */
  missing: string[];
}

const COLORS = ["#636efa", "#ef553b", "#00cc96", "#ab63fa", "#ffa15a", "#19d3f3", "#ff6692", "#b6e880", "#ff97ff", "#fecb52"];
const SAFE_COLOR = /^(#[0-9a-f]{3,8}|[a-z]{3,30}|rgba?\([\d\s.,%]+\))$/i;
const MOST = 20_000;
const BINS = 30;

type Values = readonly unknown[];

export function drawing({ data, layout = {} }: PlotlyFigure): Drawing {
  const traces = data.filter((trace) => trace["visible"] !== false && trace["visible"] !== "legendonly");
  const lists = traces.map((trace) => coordinates(trace));
  const x = scaleOf(lists.map((list) => list?.x ?? []), record(layout["xaxis"]));
  const y = scaleOf(lists.map((list) => list?.y ?? []), record(layout["yaxis"]));
  const colors = colorway(layout);
  const missing = new Set<string>();
  const shapes = traces.flatMap((trace, order): Shape[] => {
    const list = lists[order];
    if (!list) {
      missing.add(String(trace["type"] ?? "scatter"));
      return [];
    }
    const color = colorOf(trace) ?? colors[order % colors.length]!;
    return shapesOf(trace, list, x, y, String(trace["name"] ?? ""), color);
  });
  for (const shape of shapes) for (const [left, right, bottom, top] of extents(shape)) widen(x, left, right), widen(y, bottom, top);
  return { title: title(layout), x: { ...x, title: title(record(layout["xaxis"])) }, y: { ...y, title: title(record(layout["yaxis"])) }, shapes, missing: [...missing] };
}

interface Coordinates {
  kind: "scatter" | "bar" | "heatmap";
  x: Values;
  y: Values;
  across: boolean;
}

/** What a trace draws, in columns; null when it is none of the kinds known here. */
function coordinates(trace: Record<string, unknown>): Coordinates | null {
  const type = trace["type"] ?? "scatter";
  const across = trace["orientation"] === "h";
  if (type === "scatter" || type === "scattergl") {
    const y = list(trace["y"]);
    return { kind: "scatter", x: trace["x"] === undefined ? y.map((_, at) => at) : list(trace["x"]), y, across };
  }
  if (type === "bar") {
    const [x, y] = [list(trace["x"]), list(trace["y"])];
    const places = (amount: number) => Array.from({ length: amount }, (_, at) => at);
    return { kind: "bar", x: x.length ? x : places(y.length), y: y.length ? y : places(x.length), across };
  }
  if (type === "histogram") {
    const values = list(trace["x"]).length ? list(trace["x"]) : list(trace["y"]);
    const counted = histogram(values);
    return { kind: "bar", x: counted.map(([name]) => name), y: counted.map(([, amount]) => amount), across: false };
  }
  if (type === "heatmap") {
    const rows = list(trace["z"]);
    const places = (amount: number) => Array.from({ length: amount }, (_, at) => at);
    const x = list(trace["x"]).length ? list(trace["x"]) : places(Math.max(0, ...rows.map((row) => list(row).length)));
    return { kind: "heatmap", x, y: list(trace["y"]).length ? list(trace["y"]) : places(rows.length), across };
  }
  return null;
}

function shapesOf(trace: Record<string, unknown>, { kind, x: xs, y: ys, across }: Coordinates, x: Scale, y: Scale, name: string, color: string): Shape[] {
  const words = list(trace["text"]);
  if (kind === "heatmap") return [cellsOf(list(trace["z"]), xs, ys, x, y, name)];
  const points: [number, number, string][] = [];
  for (let at = 0; at < Math.min(xs.length, ys.length, MOST); at++) {
    const [px, py] = [place(xs[at], x), place(ys[at], y)];
    const said = [name, `${String(xs[at])}, ${String(ys[at])}`, words[at]].filter(Boolean).join(" · ");
    if (kind === "scatter" || (Number.isFinite(px) && Number.isFinite(py))) points.push([px, py, said]);
  }
  if (kind === "bar") {
    const half = 0.4 * spacing((across ? points.map((p) => p[1]) : points.map((p) => p[0])));
    const bars = points.map(([px, py, said]): [number, number, number, number, string] =>
      across ? [Math.min(0, px), Math.max(0, px), py - half, py + half, said] : [px - half, px + half, Math.min(0, py), Math.max(0, py), said],
    );
    return [{ kind: "bars", name, color, bars }];
  }
  const mode = String(trace["mode"] ?? "lines");
  const kinds: ("line" | "points")[] = [...(mode.includes("lines") ? ["line" as const] : []), ...(mode.includes("markers") ? ["points" as const] : [])];
  return kinds.map((drawn) => ({ kind: drawn, name, color, points }));
}

function cellsOf(rows: Values, xs: Values, ys: Values, x: Scale, y: Scale, name: string): Shape {
  const values = rows.map((row) => list(row).map(Number));
  const all = values.flat().filter(Number.isFinite);
  const low = all.reduce((least, value) => Math.min(least, value), Infinity);
  const high = all.reduce((most, value) => Math.max(most, value), -Infinity);
  const wide = spacing(xs.map((value) => place(value, x))) / 2;
  const tall = spacing(ys.map((value) => place(value, y))) / 2;
  const cells = values.slice(0, MOST).flatMap((row, r) =>
    row.slice(0, MOST / values.length).flatMap((value, c): [number, number, number, number, number, string][] => {
      const [px, py] = [place(xs[c], x), place(ys[r], y)];
      if (![value, px, py].every(Number.isFinite)) return [];
      return [[px - wide, px + wide, py - tall, py + tall, high > low ? (value - low) / (high - low) : 0.5, `${String(xs[c])}, ${String(ys[r])}: ${value}`]];
    }),
  );
  return { kind: "cells", name, cells };
}

function extents(shape: Shape): [number, number, number, number][] {
  if (shape.kind === "bars") return shape.bars.map(([left, right, from, to]) => [left, right, from, to]);
  if (shape.kind === "cells") return shape.cells.map(([left, right, bottom, top]) => [left, right, bottom, top]);
  return shape.points.map(([px, py]) => [px, px, py, py]);
}

function widen(scale: Scale, low: number, high: number): void {
  if (Number.isFinite(low)) scale.low = Math.min(scale.low, low);
  if (Number.isFinite(high)) scale.high = Math.max(scale.high, high);
}

function scaleOf(columns: Values[], axis: Record<string, unknown>): Scale {
  const values = columns.flat();
  const numeric = values.every((value) => value === null || value === undefined || Number.isFinite(numberOf(value)));
  const names = numeric ? null : [...new Set(values.map(String))];
  return { low: Infinity, high: -Infinity, log: axis["type"] === "log" && numeric, names };
}

/** Where a value lies on its axis; NaN when nowhere. */
function place(value: unknown, scale: Scale): number {
  if (scale.names) return scale.names.indexOf(String(value));
  const size = value === null || value === undefined ? NaN : numberOf(value);
  if (!scale.log) return size;
  return size > 0 ? Math.log10(size) : NaN;
}

/** A number, or the moment that a date in a text means. */
function numberOf(value: unknown): number {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return Number(value);
  return typeof value === "string" && value.trim() !== "" ? Number(value) : NaN;
}

function spacing(places: readonly number[]): number {
  const sorted = [...new Set(places.filter(Number.isFinite))].sort((a, b) => a - b);
  const gaps = sorted.slice(1).map((value, at) => value - sorted[at]!);
  return gaps.length ? Math.min(...gaps) : 1;
}

function histogram(values: Values): [unknown, number][] {
  const numbers = values.map(numberOf);
  if (!numbers.every(Number.isFinite)) {
    const counts = new Map<string, number>();
    for (const value of values) counts.set(String(value), (counts.get(String(value)) ?? 0) + 1);
    return [...counts];
  }
  const low = numbers.reduce((least, value) => Math.min(least, value), Infinity);
  const high = numbers.reduce((most, value) => Math.max(most, value), -Infinity);
  const width = (high - low) / BINS || 1;
  const counts = new Array<number>(BINS).fill(0);
  for (const value of numbers) counts[Math.min(BINS - 1, Math.floor((value - low) / width))]!++;
  return counts.map((amount, at) => [low + (at + 0.5) * width, amount]);
}

function colorOf(trace: Record<string, unknown>): string | null {
  const named = [record(trace["line"])["color"], record(trace["marker"])["color"]];
  return (named.find((color) => typeof color === "string" && SAFE_COLOR.test(color)) as string | undefined) ?? null;
}

function colorway(layout: Record<string, unknown>): string[] {
  const template = record(record(layout["template"])["layout"]);
  const found = list(layout["colorway"] ?? template["colorway"]).filter((color): color is string => typeof color === "string" && SAFE_COLOR.test(color));
  return found.length ? found : COLORS;
}

function title(of: Record<string, unknown>): string {
  const found = of["title"];
  return typeof found === "string" ? found : String(record(found)["text"] ?? "");
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function list(value: unknown): Values {
  return Array.isArray(value) ? value : [];
}
