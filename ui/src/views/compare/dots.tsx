import type { Signal } from "@preact/signals";
import type { Run } from "../../api";
import { link } from "../../router";

export interface Dot {
  run: Run;
  /** Between 0 and 1. */
  h: number;
  v: number;
  color: string;
}

interface DotsProps {
  dots: readonly Dot[];
  across: (at: number) => number;
  down: (at: number) => number;
  hovered: Signal<Run | null>;
  /** Ringed. */
  best?: Run | undefined;
  size?: number;
}

/** A dot for each run, which leads to it. Where a table beside them has the links, nothing here needs the keyboard. */
export function Dots({ dots, across, down, hovered, best, size = 4 }: DotsProps) {
  const order = best ? [...dots].sort((a, b) => Number(a.run.runId === best.runId) - Number(b.run.runId === best.runId)) : dots;
  return (
    <g class="dots">
      {order.map(({ run, h, v, color }) => (
        <circle
          key={run.runId} data-dot={run.runId} class={run.runId === best?.runId ? "best" : run.status === "running" ? "open" : ""}
          cx={across(h)} cy={down(v)} r={size} style={{ fill: color }}
          onMouseEnter={() => (hovered.value = run)} onMouseLeave={() => (hovered.value = null)}
          onClick={() => (location.hash = link("runs", run.runId))}
        />
      ))}
      <Hovered dots={order} across={across} down={down} hovered={hovered} size={size + 2} />
    </g>
  );
}

/** The one under the pointer, or its fellow in a drawing beside: drawn apart, so that the others need not be drawn again. */
function Hovered({ dots, across, down, hovered, size }: Pick<DotsProps, "dots" | "across" | "down" | "hovered"> & { size: number }) {
  const runId = hovered.value?.runId;
  const dot = runId && dots.find(({ run }) => run.runId === runId);
  return dot ? <circle class="hover" cx={across(dot.h)} cy={down(dot.v)} r={size} style={{ fill: dot.color }} /> : null;
}
