// What a chart shows of its axes, and which of their numbers are written.
import type { Line } from "./line";
import type { Range } from "./view";

export interface Seen {
  lines: readonly Line[];
  zoom: Range | null;
  log: boolean;
  logX: boolean;
  clip: boolean;
}

export interface Ranges {
  x: Range;
  y: Range;
  /** Whether clipping left something out. */
  clipped: boolean;
}

/** How far from the middle 80 % of the values, in their width, something still belongs to them. */
const FENCE = 1.5;

export function extent(seen: Seen): Ranges {
  const x = seen.zoom && !(seen.logX && seen.zoom[0] <= 0) ? seen.zoom : wholeX(seen);
  let low = Infinity;
  let high = -Infinity;
  const means: number[] = [];
  for (const line of seen.lines) {
    const end = Math.min(line.length, line.firstAtOrAfter(x[1]) + 1);
    for (let at = line.firstAtOrAfter(x[0]); at < end; at++) {
      if (line.min[at]! < low && !(seen.log && line.min[at]! <= 0)) low = line.min[at]!;
      if (line.max[at]! > high) high = line.max[at]!;
      if (seen.clip && Number.isFinite(line.mean[at]!)) means.push(line.mean[at]!);
    }
  }
  let range: Range = [low, high];
  if (seen.clip) range = fenced(means, range, seen.log);
  const clipped = range[0] > low || range[1] < high;
  return { x, y: seen.log ? logRange(range) : widened(range, 0.05), clipped };
}

function wholeX({ lines, logX }: Seen): Range {
  let from = Infinity;
  let to = -Infinity;
  for (const line of lines) {
    const first = logX ? line.firstAtOrAfter(Number.MIN_VALUE) : 0;
    if (first >= line.length) continue;
    from = Math.min(from, line.x[first]!);
    to = Math.max(to, line.lastX);
  }
  if (!logX) return widened([from, to], 0);
  return from < to ? [from, to] : from === to ? [from / 2, from * 2] : [1, 10];
}

/** The range without what lies far outside the middle of the values. */
function fenced(values: number[], [low, high]: Range, log: boolean): Range {
  const places = values.filter((value) => !log || value > 0).map((value) => (log ? Math.log10(value) : value));
  if (places.length < 4) return [low, high];
  const sorted = Float64Array.from(places).sort();
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))]!;
  const reach = FENCE * (at(0.9) - at(0.1));
  const back = (place: number) => (log ? 10 ** place : place);
  return [Math.max(low, back(at(0.1) - reach)), Math.min(high, back(at(0.9) + reach))];
}

/** A range that can be drawn: not empty, not infinite, with `margin` of its size on both sides. */
export function widened([low, high]: Range, margin: number): Range {
  if (!(low <= high)) return [0, 1];
  if (low === high) return [low - (Math.abs(low) * 0.1 || 0.5), high + (Math.abs(high) * 0.1 || 0.5)];
  const extra = (high - low) * margin;
  return [low - extra, high + extra];
}

function logRange([low, high]: Range): Range {
  if (!(low <= high)) return [0.1, 10];
  const from = low === high ? low / 2 : low;
  const to = low === high ? high * 2 : high;
  return [oneDigit(from, Math.floor), oneDigit(to, Math.ceil)];
}

function oneDigit(value: number, round: (value: number) => number): number {
  const power = Math.floor(Math.log10(value));
  return Number(`${round(value / 10 ** power)}e${power}`);
}

const MANY_DIGITS = [1, 2, 3, 5, 7];

/** Where a logarithmic axis has its numbers: at decades, and between them while there is room. */
export function logSplits(low: number, high: number): number[] {
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / 4));
  const digits = decades < 0.8 ? MANY_DIGITS : decades < 2 ? [1, 2, 5] : [1];
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const digit of power % every === 0 ? digits : []) {
      const value = Number(`${digit}e${power}`);
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found.length > 1 ? found : evenSplits(low, high);
}

/** About three round numbers. */
function evenSplits(low: number, high: number): number[] {
  const power = 10 ** Math.floor(Math.log10((high - low) / 2));
  const step = power * ([1, 2, 5].findLast((digit) => digit * power <= (high - low) / 2) ?? 1);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, at) => (first + at) * step);
}
