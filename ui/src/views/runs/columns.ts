// Which columns the runs table has, how wide they are, and in which order its rows stand.
import type { Run } from "../../api";
import { fieldKind, fieldValue, SUMMARY } from "./fields";

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

const METRICS = 4;
export const NAME_WIDTH = 150;
const WIDTHS: Record<string, number> = { name: NAME_WIDTH, status: 96, time: 70, tags: 120, notes: 180, id: 140, path: 120 };
const NUMBER_WIDTH = 70;
const TEXT_WIDTH = 100;
const NARROWEST = 40;
const WIDEST = 1200;

/** The numbers that most runs have, validation first, the machine's own last. */
function primaryMetrics(runs: Iterable<Run>): string[] {
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
    .slice(0, METRICS)
    .map(([name]) => SUMMARY + name);
}

/** The columns of a table for which nobody has chosen any. */
export function defaultColumns(runs: readonly Run[]): string[] {
  const best = runs.some((run) => run.primaryMetric) ? ["best"] : [];
  return ["status", "time", ...best, ...primaryMetrics(runs)];
}

export function isFigure(column: string, sample: unknown): boolean {
  const kind = fieldKind(column);
  return kind === null ? typeof sample === "number" || sample === null : kind === "number" || kind === "duration" || kind === "date";
}

export function widthOf(column: string, layout: Layout, figure: boolean): number {
  return layout.widths[column] ?? WIDTHS[column] ?? (figure ? NUMBER_WIDTH : TEXT_WIDTH);
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
