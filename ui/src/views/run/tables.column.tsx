import { useMemo } from "preact/hooks";
import { number } from "../../format";
import type { Cell } from "./media.api";
import { BarShapes } from "./media.histogram";
import { asNumber, type ColumnKind } from "./tables.order";

const BINS = 16;
const WIDTH = 64;
const HEIGHT = 16;

interface ColumnHeadProps {
  name: string;
  kind: ColumnKind;
  rows: readonly Cell[][];
  column: number;
  direction: 1 | -1 | null;
  onSort(): void;
}

/** A column's name, which sorts by it, and for numbers how they are spread. */
export function ColumnHead({ name, kind, rows, column, direction, onSort }: ColumnHeadProps) {
  const sorted = direction === null ? undefined : direction === 1 ? "ascending" : "descending";
  return (
    <th class={kind === "number" ? "figure" : undefined} aria-sort={sorted}>
      <button onClick={onSort} title={`Sort by ${name}`}>
        {name}{direction !== null && <span aria-hidden="true">{direction === 1 ? " ▴" : " ▾"}</span>}
      </button>
      {kind === "number" && <Spread rows={rows} column={column} />}
    </th>
  );
}

function Spread({ rows, column }: { rows: readonly Cell[][]; column: number }) {
  const spread = useMemo(() => spreadOf(rows.map((row) => asNumber(row[column]))), [rows, column]);
  if (!spread) return null;
  const words = `${number(spread.edges[0]!)} to ${number(spread.edges.at(-1)!)}, mean ${number(spread.mean)}`;
  return (
    <svg class="spread" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} role="img" aria-label={words}>
      <title>{words}</title>
      <BarShapes edges={spread.edges} counts={spread.counts} width={WIDTH} height={HEIGHT} />
    </svg>
  );
}

function spreadOf(cells: (number | null)[]): { edges: number[]; counts: number[]; mean: number } | null {
  const values = cells.filter((value): value is number => value !== null && Number.isFinite(value));
  if (!values.length) return null;
  let [low, high, sum] = [Infinity, -Infinity, 0];
  for (const value of values) [low, high, sum] = [Math.min(low, value), Math.max(high, value), sum + value];
  const width = (high - low) / BINS || 1;
  const counts = new Array<number>(BINS).fill(0);
  for (const value of values) counts[Math.min(BINS - 1, Math.floor((value - low) / width))]!++;
  return { edges: counts.map((_, at) => low + at * width).concat(high > low ? high : low + BINS * width), counts, mean: sum / values.length };
}
