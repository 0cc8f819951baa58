// What `rundial export --html` put into the page beside it; rundial/exports/html.py writes it.
import type { Marker, RunDetail, XAxis } from "../api";
import { Line } from "../chart/line";

export type ReportAxis = Extract<XAxis, "step" | "relative" | "wall">;

/** A line's buckets; `min` and `max` are left out where each bucket is one point. */
interface Columns {
  x: number[];
  mean: number[];
  min?: number[];
  max?: number[];
  last: number;
}

export interface Picture {
  run: number;
  key: string;
  step: number;
  caption: string | null;
  width: number | null;
  /** A `data:` address. */
  source: string;
}

export interface Rows {
  run: number;
  key: string;
  step: number;
  caption: string | null;
  columns: unknown[];
  rows: unknown[][];
  /** How many there are; fewer may be here. */
  count: number;
}

export interface Report {
  version: number;
  exportedAtMs: number;
  runs: RunDetail[];
  markers: Marker[][];
  /** By axis and metric: for each run its columns, or null. */
  charts: Record<ReportAxis, Record<string, (Columns | null)[]>>;
  pictures: Picture[];
  tables: Rows[];
  leftOut: Record<string, number>;
}

export function readReport(): Report {
  return JSON.parse(document.getElementById("report")!.textContent!) as Report;
}

export function lineOf({ x, mean, min = mean, max = mean, last }: Columns): Line {
  const numbers = (values: number[]) => Float64Array.from(values);
  return new Line({ x: numbers(x), mean: numbers(mean), min: numbers(min), max: numbers(max), last: numbers([last]) });
}
