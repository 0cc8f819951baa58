// Smoothed lines, for the eye alone: what was logged stays behind them.
import type { Line } from "./line";
import type { Smoother } from "./view";

interface Made {
  key: string;
  values: Float64Array;
}

/** What was made of each line last: a hover redraws every line and changes none. */
const made = new WeakMap<Line, Made>();

/** The line's means, smoothed. `weight` in [0, 1): of the past, or for a Gaussian of equal reach; gaps are skipped. */
export function smoothed(line: Line, weight: number, smoother: Smoother): Float64Array {
  const key = `${smoother} ${weight} ${line.revision}`;
  const known = made.get(line);
  if (known?.key === key) return known.values;
  const values = smoother === "ema" ? exponential(line, weight) : gaussian(line, weight);
  made.set(line, { key, values });
  return values;
}

/**
 * Exponential moving average without the pull towards zero at the start: each sum is divided by the weight it has
 * collected (Adam's bias correction).
 */
function exponential(line: Line, weight: number): Float64Array {
  const result = new Float64Array(line.length);
  let sum = 0;
  let collected = 0;
  for (let at = 0; at < line.length; at++) {
    const value = line.mean[at]!;
    if (Number.isFinite(value)) {
      sum = sum * weight + (1 - weight) * value;
      collected = collected * weight + (1 - weight);
    }
    result[at] = Number.isFinite(value) ? sum / collected : NaN;
  }
  return result;
}

const REACH = 3;

/** Weighted mean of the values to both sides; at the ends, of those that are there. */
function gaussian(line: Line, weight: number): Float64Array {
  const sigma = weight / (1 - weight);
  const reach = Math.ceil(REACH * sigma);
  const weights = Float64Array.from({ length: reach + 1 }, (_, away) => Math.exp(-0.5 * (away / sigma) ** 2));
  const result = new Float64Array(line.length);
  for (let at = 0; at < line.length; at++) {
    let sum = 0;
    let collected = 0;
    const end = Math.min(line.length - 1, at + reach);
    for (let other = Math.max(0, at - reach); other <= end; other++) {
      const value = line.mean[other]!;
      if (!Number.isFinite(value)) continue;
      const share = weights[Math.abs(other - at)]!;
      sum += value * share;
      collected += share;
    }
    result[at] = Number.isFinite(line.mean[at]!) ? sum / collected : NaN;
  }
  return result;
}
