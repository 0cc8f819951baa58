// How the rows of a table are ordered, and what its columns hold.
import type { Cell } from "./media.api";

export interface Order {
  column: number;
  direction: 1 | -1;
}

export type ColumnKind = "number" | "text";

const NOT_FINITE: Record<string, number> = { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity };

/** A cell as a number, also one that JSON has no form for; null when it is none. */
export function asNumber(cell: Cell | undefined): number | null {
  if (typeof cell === "number") return cell;
  return typeof cell === "string" ? NOT_FINITE[cell] ?? null : null;
}

/** A column of numbers has nothing else in it, but for empty cells. */
export function columnKind(rows: readonly Cell[][], column: number): ColumnKind {
  let some = false;
  for (const row of rows) {
    const cell = row[column] ?? null;
    if (cell === null) continue;
    if (asNumber(cell) === null) return "text";
    some = true;
  }
  return some ? "number" : "text";
}

/** The rows in order; empty cells and NaN stay at the end either way. */
export function ordered(rows: readonly Cell[][], order: Order | null): readonly Cell[][] {
  if (!order) return rows;
  const { column, direction } = order;
  return [...rows].sort((a, b) => compare(a[column] ?? null, b[column] ?? null, direction));
}

function compare(a: Cell, b: Cell, direction: 1 | -1): number {
  const [x, y] = [asNumber(a), asNumber(b)];
  const [nothingLeft, nothingRight] = [a === null || Number.isNaN(x), b === null || Number.isNaN(y)];
  if (nothingLeft || nothingRight) return Number(nothingLeft) - Number(nothingRight);
  if (x !== null && y !== null) return direction * (x === y ? 0 : x < y ? -1 : 1);
  if (x !== null || y !== null) return direction * (x !== null ? -1 : 1);
  return direction * words(a).localeCompare(words(b), undefined, { numeric: true });
}

function words(cell: Cell): string {
  return typeof cell === "string" ? cell : JSON.stringify(cell);
}
