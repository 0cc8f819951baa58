// Which metrics the runs table shows, and in which order its rows stand.
import type { Run } from "../../api";

export interface Sort {
  column: string;
  descending: boolean;
}

const COLUMNS = 4;

/** A value of a mapping whose names users chose: `__proto__` is a name like any other. */
export function own(mapping: Record<string, unknown>, name: string): unknown {
  return Object.hasOwn(mapping, name) ? mapping[name] : undefined;
}

/** The numbers that most runs have, validation first, the machine's own last. */
export function primaryColumns(runs: Iterable<Run>): string[] {
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
    .slice(0, COLUMNS)
    .map(([name]) => name);
}

export function parseSort(text: string | null): Sort | null {
  return text ? { column: text.slice(1), descending: text[0] === "-" } : null;
}

export function sortText({ column, descending }: Sort): string {
  return (descending ? "-" : "+") + column;
}

const FACTS = new Map<string, (run: Run) => number | string | null>([
  ["status", (run) => run.status],
  ["name", (run) => run.runName.toLowerCase()],
  ["best", (run) => run.primaryMetric?.value ?? null],
  ["time", (run) => (run.finishedAtMs ?? Date.now()) - run.startedAtMs],
]);

/** Columns of facts are named plainly, those of metrics begin with `m:`. */
function sortValue(run: Run, column: string): number | string | null {
  const fact = FACTS.get(column);
  if (fact) return fact(run);
  const value = own(run.summary, column.slice(2));
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** Runs without the value come last, whichever way it goes. */
export function sorted(runs: Run[], sort: Sort | null): Run[] {
  if (!sort) return runs;
  const sign = sort.descending ? -1 : 1;
  const valued = runs.map((run) => ({ run, value: sortValue(run, sort.column) }));
  valued.sort((a, b) => {
    if (a.value === null || b.value === null) return Number(a.value === null) - Number(b.value === null);
    return a.value < b.value ? -sign : a.value > b.value ? sign : 0;
  });
  return valued.map(({ run }) => run);
}

export function matchesRun(run: Run, text: string): boolean {
  const needle = text.trim().toLowerCase();
  const words = [run.runName, run.runId, run.status, run.group ?? "", run.alias ?? "", run.path, ...run.tags];
  return !needle || words.some((word) => word.toLowerCase().includes(needle));
}
