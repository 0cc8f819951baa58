import type { Signal } from "@preact/signals";
import type { Run } from "../../api";
import type { Axis } from "./axes";
import { type Dot, Dots } from "./dots";
import { Frame, shadeOf } from "./frame";

interface HeatProps {
  runs: readonly Run[];
  x: Axis;
  y: Axis;
  /** What the colour says. */
  z: Axis;
  hovered: Signal<Run | null>;
  best?: Run | undefined;
}

const COLUMNS = 36;
const ROWS = 24;
/** How far a run tells of its neighbourhood, as a part of an axis. */
const REACH = 0.09;
/** What is further from every run than this weight says stays empty. */
const FAINTEST = 0.08;

interface Point {
  h: number;
  v: number;
  z: number;
}

/**
 * The metric over two parameters: each run a dot in its colour, and between them an estimate, the mean of the runs
 * around weighted by distance, which fades where there are none. Choices have no neighbours but themselves.
 */
export function Heat({ runs, x: across, y: up, z, hovered, best }: HeatProps) {
  const [x, y] = [centred(across, runs), centred(up, runs)];
  const points = runs.flatMap((run): (Point & { run: Run })[] => {
    const [h, v, at] = [x.place(run), y.place(run), z.place(run)];
    return h === null || v === null || at === null ? [] : [{ run, h, v, z: at }];
  });
  const dots = points.map(({ run, h, v, z: at }): Dot => ({ run, h, v, color: shadeOf(at) }));
  const columns = cellsOf(x, points.map(({ h }) => h), COLUMNS);
  const rows = cellsOf(y, points.map(({ v }) => v), ROWS);
  const beside = columns.map((cell) => points.map(({ h }) => nearness(h, cell)));
  const above = rows.map((cell) => points.map(({ v }) => nearness(v, cell)));
  return (
    <Frame x={x} y={y} label={`${z.words} over ${x.words} and ${y.words}`} height={380} widest={720}>
      {(across, down) => [
        <g key="cells" class="cells">
          {columns.map((column, left) => rows.map((row, up) => {
            const { value, weight } = estimate(points, beside[left]!, above[up]!);
            if (weight < FAINTEST) return null;
            return (
              <rect
                key={`${column.at} ${row.at}`} x={across(column.from)} width={across(column.to) - across(column.from)}
                y={down(row.to)} height={down(row.from) - down(row.to)}
                style={{ fill: shadeOf(value), opacity: 0.55 * Math.min(1, weight) }}
              />
            );
          }))}
        </g>,
        <Dots key="dots" dots={dots} across={across} down={down} hovered={hovered} best={best} size={5} />,
      ]}
    </Frame>
  );
}

/** A choice with its values in the middle of fields of equal size; any other axis as it is. */
function centred(axis: Axis, runs: readonly Run[]): Axis {
  if (!axis.choice) return axis;
  const known = [...new Set(runs.map((run) => axis.place(run)).filter((at) => at !== null))].sort((a, b) => a - b);
  const to = new Map(known.map((at, n) => [at, (n + 0.5) / known.length]));
  const ticks = axis.ticks.flatMap((tick) => (to.has(tick.at) ? [{ ...tick, at: to.get(tick.at)! }] : []));
  return { ...axis, ticks, place: (run) => to.get(axis.place(run) ?? NaN) ?? null };
}

interface Cell {
  at: number;
  from: number;
  to: number;
  /** Whether only the runs right here tell of it. */
  alone: boolean;
}

/** Even cells over a number; one around each value of a choice. */
function cellsOf(axis: Axis, places: readonly number[], count: number): Cell[] {
  if (!axis.choice) return Array.from({ length: count }, (_, n) => ({ at: (n + 0.5) / count, from: n / count, to: (n + 1) / count, alone: false }));
  const known = [...new Set(places)].sort((a, b) => a - b);
  const between = known.slice(1).map((at, n) => (at + known[n]!) / 2);
  return known.map((at, n) => ({ at, from: between[n - 1] ?? 0, to: between[n] ?? 1, alone: true }));
}

/** The mean of all points, by how near each is across and up. */
function estimate(points: readonly Point[], beside: readonly number[], above: readonly number[]): { value: number; weight: number } {
  let sum = 0, weight = 0;
  points.forEach((point, n) => {
    const one = beside[n]! * above[n]!;
    sum += one * point.z;
    weight += one;
  });
  return { value: weight ? sum / weight : 0, weight };
}

function nearness(place: number, cell: Cell): number {
  if (cell.alone) return Number(Math.abs(place - cell.at) < 1e-9);
  return Math.exp(-0.5 * ((place - cell.at) / REACH) ** 2);
}
