// Which columns the runs table has, how wide they are, and in which order its rows stand.
import type { Run } from "../../api";
import { differing, fieldKind, fieldValue, fieldWords, knownFields, SUMMARY } from "./fields";

export interface Sort {
  column: string;
  descending: boolean;
}

/** What a browser remembers of a project's table. */
export interface Layout {
  columns: string[] | null;
  /** CSS pixels. */
  widths: Record<string, number>;
}

/** How many columns there are at first: fewer where charts stand beside the table. */
const FIRST = { beside: { metrics: 4, parameters: 3 }, whole: { metrics: 12, parameters: 8 } };
/** Metrics that stand before the parameters. */
const LEADING = 2;
const SAMPLE = 200;
export const NAME_WIDTH = 150;
/** That of names where the table has the screen for itself. */
export const WIDE_NAME = 280;
const WIDTHS: Record<string, number> = { name: NAME_WIDTH, status: 96, time: 70, tags: 120, notes: 180, id: 140, path: 120 };
const NUMBER_WIDTH = 70;
const TEXT_WIDTH = 100;
/** A column's name is read whole up to here. */
const WIDEST_NAME = 116;
const LETTER_WIDTH = 6.8;
const HEAD_PADDING = 14;
const NARROWEST = 40;
const WIDEST = 1200;

/** The numbers that most runs have, validation first, the machine's own last. */
function primaryMetrics(runs: Iterable<Run>, most: number): string[] {
  const counts = new Map<string, number>();
  for (const run of runs) {
    for (const [name, value] of Object.entries(run.summary)) {
      // The best value of the primary metric has a column of its own.
      if (typeof value === "number" && !name.startsWith("best_metric_")) counts.set(name, (counts.get(name) ?? 0) + 1);
    }
  }
  const rank = (name: string) => (/^(val|eval|test)/.test(name) ? 0 : name.startsWith("system/") ? 2 : 1);
  return [...counts]
    .sort(([a, many], [b, few]) => few - many || rank(a) - rank(b))
    .slice(0, most)
    .map(([name]) => SUMMARY + name);
}

/** The columns of a table for which nobody has chosen any: how runs did, and in what they differ. */
export function defaultColumns(runs: readonly Run[], whole: boolean): string[] {
  const most = whole ? FIRST.whole : FIRST.beside;
  const best = runs.some((run) => run.primaryMetric) ? ["best"] : [];
  const metrics = primaryMetrics(runs, most.metrics);
  return ["status", "time", ...best, ...metrics.slice(0, LEADING), ...parameters(runs).slice(0, most.parameters), ...metrics.slice(LEADING)];
}

/** Short config values that are not the same in the newest runs; what is different in every run, such as a seed, last. */
function parameters(runs: readonly Run[]): string[] {
  const newest = runs.slice(0, SAMPLE);
  const short = (value: unknown) => value === null || typeof value === "number" || typeof value === "boolean" || (typeof value === "string" && value.length <= 24);
  const fields = knownFields(newest).config.filter((field) => !field.startsWith("config._") && newest.every((run) => short(fieldValue(run, field))));
  return differing(newest, fields).sort((a, b) => Number(/seed/i.test(a)) - Number(/seed/i.test(b)));
}

export function isFigure(column: string, sample: unknown): boolean {
  const kind = fieldKind(column);
  return kind === null ? typeof sample === "number" || sample === null : kind === "number" || kind === "duration" || kind === "date";
}

export function widthOf(column: string, layout: Layout, figure: boolean): number {
  const named = Math.min(WIDEST_NAME, HEAD_PADDING + fieldWords(column).length * LETTER_WIDTH);
  return layout.widths[column] ?? WIDTHS[column] ?? Math.max(figure ? NUMBER_WIDTH : TEXT_WIDTH, named);
}

export function bounded(width: number): number {
  return Math.min(WIDEST, Math.max(NARROWEST, Math.round(width)));
}

export function parseList(text: string | null): string[] | null {
  return text === null ? null : text.split(",").filter(Boolean).map(decodeURIComponent);
}

export function listText(names: readonly string[]): string {
  return names.map(encodeURIComponent).join(",");
}

export function parseSort(text: string | null): Sort | null {
  return text ? { column: text.slice(1), descending: text[0] === "-" } : null;
}

export function sortText({ column, descending }: Sort): string {
  return (descending ? "-" : "+") + column;
}

type Key = number | string | null;

function sortKey(value: unknown): Key {
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (typeof value === "boolean") return Number(value);
  if (value === null || value === undefined) return null;
  const text = typeof value === "string" ? value : Array.isArray(value) ? value.join(", ") : JSON.stringify(value);
  return text === "" ? null : text.toLowerCase();
}

const natural = new Intl.Collator("en", { numeric: true });

/** Numbers before texts; what has no value last, whichever way it goes. */
export function compareValues(a: Key, b: Key, descending: boolean): number {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  const order =
    typeof a === "string" && typeof b === "string" ? natural.compare(a, b)
    : typeof a === typeof b ? Number(a) - Number(b)
    : typeof a === "number" ? -1 : 1;
  return descending ? -order : order;
}

export function sorted(runs: readonly Run[], sort: Sort | null): readonly Run[] {
  if (!sort) return runs;
  const valued = runs.map((run) => ({ run, key: sortKey(fieldValue(run, sort.column)) }));
  return valued.sort((a, b) => compareValues(a.key, b.key, sort.descending)).map(({ run }) => run);
}
