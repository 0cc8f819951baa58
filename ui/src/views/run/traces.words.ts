// Times and amounts of traces as people read them.
import { duration, number } from "../../format";

const STEPS: [number, string][] = [
  [1e9, "s"],
  [1e6, "ms"],
  [1e3, "µs"],
];

/** Nanoseconds in three digits: `1.23 s`, `45.6 ms`, `120 µs`; minutes and more as elsewhere. */
export function lasted(nanoseconds: number): string {
  if (nanoseconds >= 60e9) return duration(nanoseconds / 1e6);
  const [size, unit] = STEPS.find(([step]) => nanoseconds >= step) ?? [1, "ns"];
  const amount = (nanoseconds / size).toPrecision(3);
  // Whole seconds of a column stand below each other; shorter times are seldom more than whole.
  return `${unit === "s" ? amount : Number(amount)} ${unit}`;
}

/** From one Unix time in nanoseconds to another, in nanoseconds. */
export function between(startNs: string, endNs: string): number {
  return Number(BigInt(endNs) - BigInt(startNs));
}

export function milliseconds(ns: string): number {
  return Number(BigInt(ns) / 1_000_000n);
}

export function dollars(amount: number): string {
  return amount === 0 || amount >= 0.01 ? `$${amount.toFixed(2)}` : `$${Number(amount.toPrecision(2))}`;
}

/** Tokens and cost, as far as there are any. */
export function amounts(used: { tokensIn: number | null; tokensOut: number | null; costUsd: number | null }): string[] {
  const words: string[] = [];
  if (used.tokensIn || used.tokensOut) words.push(`${number(used.tokensIn ?? 0)} → ${number(used.tokensOut ?? 0)} tokens`);
  if (used.costUsd) words.push(dollars(used.costUsd));
  return words;
}

export function bytes(size: number): string {
  if (size < 1000) return `${size} bytes`;
  return size < 1e6 ? `${Number((size / 1e3).toPrecision(3))} kB` : `${Number((size / 1e6).toPrecision(3))} MB`;
}
