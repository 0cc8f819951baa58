// The rows of the table: runs, or groups of runs that fold.
import type { Run } from "../../api";
import { plain } from "../../format";
import { compareValues } from "./columns";
import { fieldValue } from "./fields";

export interface Group {
  /** Stands for the group in the address. */
  key: string;
  words: string;
  depth: number;
  runs: Run[];
}

export type Row = { group: Group; open: boolean } | { run: Run; depth: number };

const NONE = "(none)";

/** Runs in their order, under the group each belongs to; `path` makes a folder of every part. */
export function groupedRows(runs: readonly Run[], by: string | null, closed: ReadonlySet<string>): Row[] {
  if (!by) return runs.map((run) => ({ run, depth: 0 }));
  if (by !== "path") return byValue(runs, by, closed);
  const found: Row[] = [];
  folders(runs, "", 0, closed, found);
  return found;
}

function byValue(runs: readonly Run[], by: string, closed: ReadonlySet<string>): Row[] {
  const groups = new Map<string, { first: unknown; runs: Run[] }>();
  for (const run of runs) {
    const value = fieldValue(run, by);
    const key = value === null || (Array.isArray(value) && !value.length) ? NONE : Array.isArray(value) ? value.join(", ") : plain(value);
    const group = groups.get(key);
    if (group) group.runs.push(run);
    else groups.set(key, { first: value, runs: [run] });
  }
  const key = (name: string, first: unknown) => (name === NONE ? null : typeof first === "number" ? first : name.toLowerCase());
  return [...groups]
    .sort(([a, one], [b, other]) => compareValues(key(a, one.first), key(b, other.first), false))
    .flatMap(([name, { runs: members }]) => rows({ key: name, words: name, depth: 0, runs: members }, closed, () =>
      members.map((run) => ({ run, depth: 1 })),
    ));
}

function folders(runs: readonly Run[], prefix: string, depth: number, closed: ReadonlySet<string>, into: Row[]): void {
  const inner = new Map<string, Run[]>();
  const here: Run[] = [];
  for (const run of runs) {
    let from = prefix.length;
    while (run.path[from] === "/") from++;
    const to = run.path.indexOf("/", from);
    const name = run.path.slice(from, to < 0 ? undefined : to);
    const members = inner.get(name);
    if (!name) here.push(run);
    else if (members) members.push(run);
    else inner.set(name, [run]);
  }
  const named = [...inner].map(([name, members]) => ({ name, members, key: name.toLowerCase() }));
  named.sort((a, b) => compareValues(a.key, b.key, false));
  for (const { name, members } of named) {
    const path = prefix + (prefix ? "/" : "") + name;
    const open = !closed.has(path);
    into.push({ group: { key: path, words: name, depth, runs: members }, open });
    if (open) folders(members, path, depth + 1, closed, into);
  }
  for (const run of here) into.push({ run, depth });
}

function rows(group: Group, closed: ReadonlySet<string>, members: () => Row[]): Row[] {
  const open = !closed.has(group.key);
  return [{ group, open }, ...(open ? members() : [])];
}

/** The mean of a field over those runs that have a finite number there. */
export function meanOf(runs: readonly Run[], field: string): number | null {
  let sum = 0;
  let count = 0;
  for (const run of runs) {
    const value = fieldValue(run, field);
    if (typeof value === "number" && Number.isFinite(value)) {
      sum += value;
      count++;
    }
  }
  return count ? sum / count : null;
}
