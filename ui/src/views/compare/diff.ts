// What differs between runs, row by row.
import type { RunDetail } from "../../api";
import { dateTime, duration, flattened, plain } from "../../format";

export interface DiffRow {
  name: string;
  /** One for each run; undefined where a run has no such thing. */
  values: unknown[];
  differs: boolean;
}

export interface DiffSection {
  title: string;
  rows: DiffRow[];
}

type Pairs = Iterable<[string, unknown]>;

function rowsOf(perRun: Pairs[]): DiffRow[] {
  const maps = perRun.map((pairs) => new Map(pairs));
  const names = new Set(maps.flatMap((map) => [...map.keys()]));
  return [...names].map((name) => {
    const values = maps.map((map) => map.get(name));
    return { name, values, differs: new Set(values.map((value) => (value === undefined ? undefined : plain(value)))).size > 1 };
  });
}

/** The newest attempt's own account of where it ran and from which code. */
export function originOf(run: RunDetail): Record<string, unknown> {
  return run.attempts.at(-1)?.system ?? {};
}

function facts(run: RunDetail): Pairs {
  const { group, jobType, path, alias, reason, notes, tags } = run;
  const newest = run.attempts.at(-1);
  const named: [string, unknown][] = [
    ["status", run.status], ["reason", reason], ["started", dateTime(run.startedAtMs)],
    ["time", duration((run.finishedAtMs ?? run.updatedAtMs) - run.startedAtMs)], ["last step", run.lastStep], ["points", run.points],
    ["group", group], ["job type", jobType], ["path", path], ["alias", alias], ["tags", tags.join(", ")], ["notes", notes],
    ["host", newest?.host], ["client", newest?.client], ["attempts", run.attempts.length],
  ];
  return named.filter(([, value]) => value !== null && value !== undefined && value !== "");
}

export function sectionsOf(runs: readonly RunDetail[]): DiffSection[] {
  const parts: [string, (run: RunDetail) => Pairs][] = [
    ["Config", (run) => flattened(run.config)],
    ["Summary", (run) => flattened(run.summary)],
    ["Run", facts],
    ["Code", (run) => flattened({ ...originOf(run) })],
    ["Environment", (run) => flattened(run.environment)],
  ];
  return parts.map(([title, pairs]) => ({ title, rows: rowsOf(runs.map(pairs)) })).filter(({ rows }) => rows.length > 0);
}
