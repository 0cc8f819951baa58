// What is known of a run, by name: for columns, filters, groups and exports alike.
import type { Run } from "../../api";
import { ago, duration, narrow, number, plain } from "../../format";

export type FieldKind = "text" | "number" | "list" | "duration" | "date" | "flag";

interface Fact {
  words: string;
  kind: FieldKind;
  value(run: Run): unknown;
}

const FACTS = new Map<string, Fact>([
  ["name", { words: "Name", kind: "text", value: (run) => run.runName }],
  ["status", { words: "Status", kind: "text", value: (run) => run.status }],
  ["time", { words: "Time", kind: "duration", value: (run) => ((run.finishedAtMs ?? Date.now()) - run.startedAtMs) / 1000 }],
  ["best", { words: "Best", kind: "number", value: (run) => run.primaryMetric?.value ?? null }],
  ["tags", { words: "Tags", kind: "list", value: (run) => run.tags }],
  ["notes", { words: "Notes", kind: "text", value: (run) => run.notes || null }],
  ["group", { words: "Group", kind: "text", value: (run) => run.group || null }],
  ["job", { words: "Job type", kind: "text", value: (run) => run.jobType || null }],
  ["path", { words: "Path", kind: "text", value: (run) => run.path || null }],
  ["alias", { words: "Alias", kind: "text", value: (run) => run.alias || null }],
  ["kind", { words: "Kind", kind: "text", value: (run) => run.kind }],
  ["id", { words: "Id", kind: "text", value: (run) => run.runId }],
  ["reason", { words: "Reason", kind: "text", value: (run) => run.reason || null }],
  ["step", { words: "Step", kind: "number", value: (run) => run.lastStep }],
  ["points", { words: "Points", kind: "number", value: (run) => run.points }],
  ["started", { words: "Started", kind: "date", value: (run) => run.startedAtMs }],
  ["updated", { words: "Updated", kind: "date", value: (run) => run.updatedAtMs }],
  ["finished", { words: "Finished", kind: "date", value: (run) => run.finishedAtMs }],
  ["age", { words: "Age", kind: "duration", value: (run) => (Date.now() - run.startedAtMs) / 1000 }],
  ["archived", { words: "Archived", kind: "flag", value: (run) => run.archivedAtMs !== null }],
]);

export const FACT_NAMES: readonly string[] = [...FACTS.keys()];
export const CONFIG = "config.";
export const SUMMARY = "summary.";

type Values = ReadonlyMap<string, unknown>;
const flat = new WeakMap<object, Values>();

/** A run's config or summary by dotted names; lists stay values. Kept as long as the run's document. */
export function dotted(document: Record<string, unknown>): Values {
  let values = flat.get(document);
  if (!values) {
    const found = new Map<string, unknown>();
    collect(document, "", found);
    flat.set(document, (values = found));
  }
  return values;
}

function collect(document: object, prefix: string, found: Map<string, unknown>): void {
  for (const [name, value] of Object.entries(document)) {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) collect(value, `${prefix}${name}.`, found);
    else found.set(prefix + name, value);
  }
}

/** The value of a field: a fact, `config.…`, `summary.…`, or the bare name of either; null when the run has none. */
export function fieldValue(run: Run, name: string): unknown {
  const fact = FACTS.get(name);
  if (fact) return fact.value(run) ?? null;
  if (name.startsWith(CONFIG)) return dotted(run.config).get(name.slice(CONFIG.length)) ?? null;
  if (name.startsWith(SUMMARY)) return dotted(run.summary).get(name.slice(SUMMARY.length)) ?? null;
  return dotted(run.config).get(name) ?? dotted(run.summary).get(name) ?? null;
}

export function fieldKind(name: string): FieldKind | null {
  return FACTS.get(name)?.kind ?? null;
}

/** What a column is called: metrics and parameters by their own names. */
export function fieldWords(name: string): string {
  return FACTS.get(name)?.words ?? name.replace(/^(config|summary)\./, "");
}

/** How a value reads in a cell. */
export function valueText(name: string, value: unknown, short = false): string {
  if (value === null || value === undefined) return "–";
  const kind = fieldKind(name);
  if (typeof value === "number") {
    if (kind === "duration") return duration(value * 1000);
    if (kind === "date") return ago(value, Date.now());
    // A parameter is read to be used again, a result to be compared with others.
    // As it was written, without what arithmetic leaves in the last digits.
    const written = String(Number(value.toPrecision(12)));
    if (name.startsWith(CONFIG) && written.length <= 7 && Math.abs(value) >= 1e-3) return written;
    return short ? narrow(value) : number(value);
  }
  if (typeof value === "boolean" && kind === "flag") return value ? "yes" : "no";
  return Array.isArray(value) && kind === "list" ? value.join(", ") : plain(value);
}

/** Facts, then config, then summary: every field that any of the runs has. */
export interface Known {
  config: string[];
  summary: string[];
}

export function knownFields(runs: Iterable<Run>): Known {
  const config = new Set<string>();
  const summary = new Set<string>();
  for (const run of runs) {
    for (const name of dotted(run.config).keys()) config.add(name);
    for (const name of dotted(run.summary).keys()) summary.add(name);
  }
  const natural = (names: Set<string>) => [...names].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  return { config: natural(config).map((name) => CONFIG + name), summary: natural(summary).map((name) => SUMMARY + name) };
}

/** Those of the names whose value is not the same in all runs. */
export function differing(runs: readonly Run[], names: readonly string[]): string[] {
  const [first, ...others] = runs;
  if (!first) return [];
  return names.filter((name) => {
    const value = plain(fieldValue(first, name));
    return others.some((run) => plain(fieldValue(run, name)) !== value);
  });
}
