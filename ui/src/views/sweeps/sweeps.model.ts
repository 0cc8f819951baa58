// Sweeps: what the server was told of them, and the runs that carry their ids. Either may be missing.
import type { Run, Status } from "../../api";
import { fieldValue, fieldWords, knownFields } from "../runs/fields";
import type { SweepRecord, SweepState } from "./sweeps.api";

/** Where a run's config says which sweep it belongs to: `rundial.compat.wandb`, and everybody else. */
const FIELDS = ["config._wandb.sweep", "config._sweep"];
/** A metric of such a name is better when it is smaller. */
const SMALLER = /loss|err|perplex|(^|[/_])(mae|mse|rmse|fid|wer|cer|nll|bpb)($|[/_])/i;
/** A sweep that says it is running, and of which nothing was heard for so long, is idle. */
const IDLE_MS = 10 * 60_000;

export interface Sweep {
  id: string;
  record: SweepRecord | null;
  /** Newest first. */
  runs: Run[];
  /** How many runs are in each status, the running ones first. */
  counts: [Status, number][];
  startedAtMs: number;
  /** The newest sign of life of its runs and agents. */
  updatedAtMs: number;
}

export interface Goal {
  /** `best`, the primary metric, or a field of the summary. */
  field: string;
  smaller: boolean;
}

/** What one parameter may be, as its maker wrote it. */
export interface Parameter {
  /** Of the runs: `config.…`. */
  field: string;
  words: string;
  about: Record<string, unknown>;
}

const STATUSES: Status[] = ["running", "completed", "failed", "crashed", "aborted"];

function sweepOf(run: Run): string | null {
  for (const field of FIELDS) {
    const id = fieldValue(run, field);
    if (typeof id === "string" && id) return id;
  }
  return null;
}

/** Newest first. */
export function sweepsOf(runs: Iterable<Run>, records: readonly SweepRecord[]): Sweep[] {
  const members = new Map<string, Run[]>(records.map(({ sweepId }) => [sweepId, []]));
  for (const run of runs) {
    const id = sweepOf(run);
    if (id === null) continue;
    const known = members.get(id);
    if (known) known.push(run);
    else members.set(id, [run]);
  }
  const told = new Map(records.map((record) => [record.sweepId, record]));
  return [...members].map(([id, own]) => {
    const record = told.get(id) ?? null;
    const counts = STATUSES.map((status): [Status, number] => [status, own.filter((run) => run.status === status).length]);
    const starts = [...own.map((run) => run.startedAtMs), ...(record ? [record.createdAtMs] : [])];
    const signs = [...own.map((run) => run.updatedAtMs), ...(record ? [record.updatedAtMs, record.askedAtMs ?? 0] : [])];
    return { id, record, runs: own, counts: counts.filter(([, count]) => count > 0), startedAtMs: Math.min(...starts), updatedAtMs: Math.max(...signs) };
  }).sort((a, b) => b.startedAtMs - a.startedAtMs);
}

export function sweepName(sweep: Sweep): string {
  return sweep.record?.name || sweep.id;
}

/** As people should read it; null when nobody has told and nothing runs. */
export function shownState(sweep: Sweep, nowMs: number): SweepState | "idle" | null {
  const busy = sweep.runs.some(({ status }) => status === "running");
  const state = sweep.record?.state ?? (busy ? "running" : null);
  return state === "running" && !busy && nowMs - sweep.updatedAtMs > IDLE_MS ? "idle" : state;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What its maker named, nested ones too, in his order. */
export function parametersOf(sweep: Sweep): Parameter[] {
  const found: Parameter[] = [];
  const collect = (document: Record<string, unknown>, prefix: string) => {
    for (const [name, about] of Object.entries(document)) {
      const mapping = isMapping(about) ? about : { value: about };
      if (isMapping(mapping.parameters)) collect(mapping.parameters, `${prefix}${name}.`);
      else found.push({ field: `config.${prefix}${name}`, words: prefix + name, about: mapping });
    }
  };
  if (isMapping(sweep.record?.config.parameters)) collect(sweep.record.config.parameters, "");
  return found;
}

export function isConstant({ about }: Parameter): boolean {
  return "value" in about || (Array.isArray(about.values) && about.values.length === 1);
}

/** What was searched: what the maker said may vary; without his word, the config in which the runs differ. */
export function searched(sweep: Sweep): string[] {
  const known = parametersOf(sweep).filter((parameter) => !isConstant(parameter)).map(({ field }) => field);
  const used = known.filter((field) => sweep.runs.some((run) => fieldValue(run, field) !== null));
  if (used.length) return used;
  const names = knownFields(sweep.runs).config.filter((field) => !field.startsWith("config._"));
  return names.filter((field) => new Set(sweep.runs.map((run) => JSON.stringify(fieldValue(run, field)))).size > 1);
}

/** What the runs can be ordered by: the maker's metric, the primary one, then numbers of the summary. */
export function goalFields(sweep: Sweep): string[] {
  const { runs } = sweep;
  const numbers = knownFields(runs).summary.filter((field) => runs.some((run) => typeof fieldValue(run, field) === "number"));
  const own = runs.some(({ primaryMetric }) => primaryMetric) ? ["best"] : [];
  const weight = (field: string) => Number(/(val|eval|test)/i.test(field));
  const found = [...own, ...numbers.sort((a, b) => weight(b) - weight(a))];
  const named = metricOf(sweep)?.name;
  const first = found.find((field) => field === `summary.${named}`);
  return first ? [first, ...found.filter((field) => field !== first)] : found;
}

/** The metric that its maker named. */
export function metricOf(sweep: Sweep): { name: string; goal: string } | null {
  const metric = sweep.record?.config.metric;
  return isMapping(metric) && typeof metric.name === "string" ? { name: metric.name, goal: String(metric.goal ?? "minimize") } : null;
}

export function isSmallerBetter(sweep: Sweep, field: string): boolean {
  const metric = metricOf(sweep);
  if (metric && field === `summary.${metric.name}`) return !metric.goal.startsWith("max");
  if (field === "best") return sweep.runs.find(({ primaryMetric }) => primaryMetric)?.primaryMetric?.mode === "min";
  return SMALLER.test(field);
}

/** What a goal is called: the primary metric by its own name. */
export function goalWords(sweep: Sweep, field: string): string {
  return field === "best" ? sweep.runs.find((run) => run.primaryMetric)!.primaryMetric!.name : fieldWords(field);
}

export function goalValue(run: Run, { field }: Goal): number | null {
  const found = fieldValue(run, field);
  return typeof found === "number" && Number.isFinite(found) ? found : null;
}

/** The best first; runs without a value last. */
export function ranked(runs: readonly Run[], goal: Goal): Run[] {
  const worth = (run: Run) => {
    const value = goalValue(run, goal);
    return value === null ? Infinity : goal.smaller ? value : -value;
  };
  const known = new Map(runs.map((run) => [run, worth(run)]));
  return [...runs].sort((a, b) => Math.sign(known.get(a)! - known.get(b)!) || b.startedAtMs - a.startedAtMs);
}

/** What else its maker wrote, for people: neither of the name, the parameters nor the metric. */
export function otherConfig(sweep: Sweep): [string, unknown][] {
  const own = ["name", "method", "metric", "parameters", "description"];
  return Object.entries(sweep.record?.config ?? {}).filter(([name]) => !own.includes(name));
}

