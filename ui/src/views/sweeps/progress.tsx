import type { Signal } from "@preact/signals";
import type { Run } from "../../api";
import { axisOf } from "../compare/axes";
import { type Dot, Dots } from "../compare/dots";
import { Frame } from "../compare/frame";
import { type Goal, goalValue } from "./sweeps.model";

interface ProgressProps {
  runs: readonly Run[];
  goal: Goal;
  words: string;
  hovered: Signal<Run | null>;
  color: (run: Run) => string;
  best?: Run | undefined;
}

const MARGIN = 0.03;
const MOST_TICKS = 6;

/** The metric of each run in the order they were made, and the best so far. */
export function Progress({ runs, goal, words, hovered, color, best }: ProgressProps) {
  const order = [...runs].sort((a, b) => a.startedAtMs - b.startedAtMs || (a.runId < b.runId ? -1 : 1));
  const y = { ...axisOf(runs, goal.field, null), words };
  const last = order.length - 1;
  const place = (number: number) => (last ? MARGIN + ((1 - 2 * MARGIN) * number) / last : 0.5);
  const dots = order.flatMap((run, number): Dot[] => {
    const v = y.place(run);
    return v === null ? [] : [{ run, h: place(number), v, color: color(run) }];
  });
  const size = Math.max(1, Math.ceil(last / MOST_TICKS));
  const ticks = order.flatMap((_, number) => (number % size === 0 ? [{ at: place(number), words: String(number + 1) }] : []));
  const steps = bestSoFar(order, goal).map((run, number) => ({ h: place(number), v: run && y.place(run) }));
  return (
    <Frame x={{ words: "run, in order of creation", ticks }} y={y} label={`${words} of each run, and the best so far`} height={260} widest={760}>
      {(across, down) => [
        <path key="best" class="best-line" d={stairs(steps, across, down)} />,
        <Dots key="dots" dots={dots} across={across} down={down} hovered={hovered} best={best} />,
      ]}
    </Frame>
  );
}

/** For each run in order the best up to it; null before the first value. */
export function bestSoFar(order: readonly Run[], goal: Goal): (Run | null)[] {
  let best: Run | null = null;
  return order.map((run) => {
    const value = goalValue(run, goal);
    const known = best && goalValue(best, goal)!;
    if (value !== null && (known === null || (goal.smaller ? value < known : value > known))) best = run;
    return best;
  });
}

function stairs(steps: readonly { h: number; v: number | null }[], across: (at: number) => number, down: (at: number) => number): string {
  let path = "";
  for (const { h, v } of steps) {
    if (v === null) continue;
    const [left, top] = [across(h).toFixed(1), down(v).toFixed(1)];
    path += path ? `H${left}V${top}` : `M${left} ${top}`;
  }
  return path;
}
