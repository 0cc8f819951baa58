// Sweeps, as far as the runs tell: `import rundial.compat.wandb as wandb` writes the sweep's id into each run's config.
import type { Run } from "../../api";
import { fieldValue, knownFields } from "../runs/fields";

const FIELD = "config._wandb.sweep";
/** A metric of such a name is better when it is smaller. */
const SMALLER = /loss|err|perplex|(^|[/_])(mae|mse|rmse|fid|wer|cer|nll|bpb)($|[/_])/i;

export interface Sweep {
  id: string;
  /** Newest first. */
  runs: Run[];
  running: number;
  startedAtMs: number;
  /** Of its runs' newest sign of life. */
  updatedAtMs: number;
}

export interface Goal {
  /** `best`, the primary metric, or a field of the summary. */
  field: string;
  smaller: boolean;
}

/** Newest first. */
export function sweepsOf(runs: Iterable<Run>): Sweep[] {
  const sweeps = new Map<string, Run[]>();
  for (const run of runs) {
    const id = fieldValue(run, FIELD);
    if (typeof id === "string" && id) sweeps.set(id, [...(sweeps.get(id) ?? []), run]);
  }
  return [...sweeps].map(([id, members]) => ({
    id,
    runs: members,
    running: members.filter(({ status }) => status === "running").length,
    startedAtMs: Math.min(...members.map(({ startedAtMs }) => startedAtMs)),
    updatedAtMs: Math.max(...members.map(({ updatedAtMs }) => updatedAtMs)),
  })).sort((a, b) => b.startedAtMs - a.startedAtMs);
}

/** What the runs can be ordered by: the primary metric, then numbers of the summary. */
export function goalFields(runs: readonly Run[]): string[] {
  const numbers = knownFields(runs).summary.filter((field) => runs.some((run) => typeof fieldValue(run, field) === "number"));
  const own = runs.some(({ primaryMetric }) => primaryMetric) ? ["best"] : [];
  const weight = (field: string) => Number(/(val|eval|test)/i.test(field));
  return [...own, ...numbers.sort((a, b) => weight(b) - weight(a))];
}

export function isSmallerBetter(runs: readonly Run[], field: string): boolean {
  if (field === "best") return runs.find(({ primaryMetric }) => primaryMetric)?.primaryMetric?.mode === "min";
  return SMALLER.test(field);
}

/** The best first; runs without a value last. */
export function ranked(runs: readonly Run[], goal: Goal): Run[] {
  const value = (run: Run) => {
    const found = fieldValue(run, goal.field);
    return typeof found === "number" && Number.isFinite(found) ? (goal.smaller ? found : -found) : Infinity;
  };
  return [...runs].sort((a, b) => value(a) - value(b) || b.startedAtMs - a.startedAtMs);
}
