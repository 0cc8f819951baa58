// How much a parameter seems to matter: rank statistics of one parameter at a time.
import type { Run } from "../../api";
import { plain } from "../../format";
import { fieldValue } from "../runs/fields";
import { type Goal, goalValue } from "./sweeps.model";

export interface Importance {
  field: string;
  /** 0 to 1. */
  strength: number;
  /** Of numbers: whether the metric grows with the parameter (1) or falls (-1); 0 for choices without an order. */
  sign: -1 | 0 | 1;
  /** Runs with both values. */
  runs: number;
}

/** Fewer runs tell nothing. */
const FEWEST = 4;

/**
 * The strongest first. Numbers: Spearman's rank correlation. Choices: the correlation ratio of the metric's ranks, the
 * root of the share of their variance that lies between the choices. Runs that still run are left out.
 */
export function importances(runs: readonly Run[], fields: readonly string[], goal: Goal): Importance[] {
  const ended = runs.filter((run) => run.status !== "running" && goalValue(run, goal) !== null);
  return fields.flatMap((field) => {
    const known = ended.filter((run) => fieldValue(run, field) !== null);
    const values = known.map((run) => fieldValue(run, field));
    if (known.length < FEWEST || new Set(values.map(plain)).size < 2) return [];
    const metric = ranks(known.map((run) => goalValue(run, goal)!));
    if (values.every((value): value is number => typeof value === "number")) {
      const rho = correlation(ranks(values), metric);
      return [{ field, strength: Math.abs(rho), sign: Math.sign(rho) as -1 | 0 | 1, runs: known.length }];
    }
    return [{ field, strength: ratio(values.map(plain), metric), sign: 0 as const, runs: known.length }];
  }).sort((a, b) => b.strength - a.strength);
}

/** From 1 on; equal values share the mean of their ranks. */
export function ranks(values: readonly number[]): number[] {
  const order = values.map((_, place) => place).sort((a, b) => values[a]! - values[b]!);
  const found = new Array<number>(values.length);
  for (let from = 0; from < order.length; ) {
    let to = from + 1;
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++;
    for (let place = from; place < to; place++) found[order[place]!] = (from + to + 1) / 2;
    from = to;
  }
  return found;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function correlation(a: readonly number[], b: readonly number[]): number {
  const [ma, mb] = [mean(a), mean(b)];
  let both = 0, one = 0, other = 0;
  a.forEach((value, place) => {
    both += (value - ma) * (b[place]! - mb);
    one += (value - ma) ** 2;
    other += (b[place]! - mb) ** 2;
  });
  return one && other ? both / Math.sqrt(one * other) : 0;
}

function ratio(choices: readonly string[], values: readonly number[]): number {
  const groups = new Map<string, number[]>();
  choices.forEach((choice, place) => groups.set(choice, [...(groups.get(choice) ?? []), values[place]!]));
  const middle = mean(values);
  const whole = values.reduce((sum, value) => sum + (value - middle) ** 2, 0);
  const between = [...groups.values()].reduce((sum, group) => sum + group.length * (mean(group) - middle) ** 2, 0);
  return whole ? Math.sqrt(between / whole) : 0;
}
