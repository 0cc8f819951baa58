// Fields of runs as axes: where a value stands between the ends, and how the axis is labelled.
import type { Run } from "../../api";
import { plain, tick } from "../../format";
import { differing, fieldKind, fieldValue, fieldWords, knownFields } from "../runs/fields";

export interface Axis {
  field: string;
  words: string;
  /** Between 0 and 1; null for a run that has no such value. */
  place(run: Run): number | null;
  ticks: { at: number; words: string }[];
  /** Whether a logarithm was taken, which needs numbers above zero. */
  log: boolean;
  /** Whether one would make sense. */
  canLog: boolean;
  /** Whether its values are names, which have no order. */
  choice: boolean;
}

/** Numbers whose largest is this many times the smallest are spread by their logarithm unless asked otherwise. */
const WIDE = 50;
const MOST_WORDS = 20;
/** So few different numbers are named each. */
const FEW = 6;
const MARGIN = 0.04;
const NEAREST = 0.05;

/** Everything that can be an axis: config first, then results, then facts that are numbers. */
export function axisFields(runs: readonly Run[]): string[] {
  const { config, summary } = knownFields(runs);
  const usable = [...config, ...summary].filter((field) => runs.some((run) => fieldValue(run, field) !== null));
  return [...usable, "time", "step", "best"].filter((field) => runs.some((run) => fieldValue(run, field) !== null));
}

/** The parameters by which the runs differ, then the results. */
export function usualAxes(runs: readonly Run[], most: number): string[] {
  const { config, summary } = knownFields(runs);
  const parameters = differing(runs, config).filter((field) => isAxis(runs, field));
  const results = runs.some((run) => fieldValue(run, "best") !== null)
    ? ["best"]
    : differing(runs, summary).filter((field) => runs.some((run) => typeof fieldValue(run, field) === "number"))
        .sort((a, b) => Number(/^summary\.(val|eval|test)/.test(b)) - Number(/^summary\.(val|eval|test)/.test(a))).slice(0, 2);
  return [...parameters.slice(0, most - results.length), ...results];
}

function isAxis(runs: readonly Run[], field: string): boolean {
  const values = runs.map((run) => fieldValue(run, field)).filter((value) => value !== null);
  return values.every((value) => typeof value === "number") || new Set(values.map(plain)).size <= MOST_WORDS;
}

export function axisOf(runs: readonly Run[], field: string, log: boolean | null): Axis {
  const values = runs.map((run) => fieldValue(run, field)).filter((value) => value !== null);
  const numbers = values.filter((value): value is number => typeof value === "number" && Number.isFinite(value));
  const words = fieldWords(field);
  if (values.length && numbers.length === values.length) return numberAxis(field, words, numbers, log);
  const names = [...new Set(values.map(plain))].sort(new Intl.Collator("en", { numeric: true }).compare);
  const at = new Map(names.map((name, place) => [name, names.length === 1 ? 0.5 : MARGIN + ((1 - 2 * MARGIN) * place) / (names.length - 1)]));
  return {
    field, words, log: false, canLog: false, choice: true,
    place: (run) => at.get(plain(fieldValue(run, field))) ?? null,
    ticks: names.slice(0, MOST_WORDS).map((name) => ({ at: at.get(name)!, words: name })),
  };
}

function numberAxis(field: string, words: string, numbers: readonly number[], asked: boolean | null): Axis {
  const low = Math.min(...numbers);
  const high = Math.max(...numbers);
  const canLog = low > 0 && high > low;
  const log = canLog && (asked ?? (fieldKind(field) === null && high / low >= WIDE));
  const scale = log ? Math.log10 : (value: number) => value;
  const from = scale(low);
  const span = scale(high) - from;
  const place = (value: number) => (span ? MARGIN + ((1 - 2 * MARGIN) * (scale(value) - from)) / span : 0.5);
  const distinct = [...new Set(numbers)].sort((a, b) => a - b);
  const ticks = distinct.length <= FEW ? distinct : log ? powers(low, high) : rounds(low, high);
  return {
    field, words, log, canLog, choice: false,
    place: (run) => {
      const value = fieldValue(run, field);
      return typeof value === "number" && Number.isFinite(value) ? place(value) : null;
    },
    ticks: apart(ticks.map((value) => ({ at: place(value), words: tick(value) }))),
  };
}

/** Those that do not stand too close to the one before. */
function apart(ticks: Axis["ticks"]): Axis["ticks"] {
  let last = -1;
  return ticks.filter(({ at }) => {
    if (at - last < NEAREST) return false;
    last = at;
    return true;
  });
}

/** Powers of ten, and the ends when there are fewer than two. */
function powers(low: number, high: number): number[] {
  const found: number[] = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high) + 1e-9; power++) found.push(Number(`1e${power}`));
  return found.length < 2 ? [low, high] : found;
}

/** Three to six round numbers. */
function rounds(low: number, high: number): number[] {
  const rough = (high - low) / 4;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = size * ([1, 2, 5].find((factor) => factor * size >= rough) ?? 10);
  const found: number[] = [];
  for (let count = Math.ceil(low / step - 1e-9); count * step <= high + step * 1e-9; count++) found.push(Number((count * step).toPrecision(12)));
  return found;
}
