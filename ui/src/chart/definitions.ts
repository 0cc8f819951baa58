// Which metric is the axis of which: `define_metric(..., step_metric=...)` leaves it in the run's config.
import type { Run, XAxis } from "../api";
import { metricAxis } from "./view";

export interface StepMetrics {
  /** By name, or by what names begin with and a `*`. */
  entries: ReadonlyMap<string, string>;
  axisOf(metric: string): XAxis;
}

/** What the runs have defined; of two that contradict each other the first counts. */
export function stepMetrics(runs: readonly Run[]): StepMetrics {
  const entries = new Map<string, string>();
  for (const { config } of runs) {
    for (const [name, definition] of Object.entries(mapping(mapping(config._wandb).metrics))) {
      const over = mapping(definition).step_metric;
      if (typeof over === "string" && !entries.has(name)) entries.set(name, over);
    }
  }
  const globs = [...entries.keys()].filter((name) => name.endsWith("*")).sort((a, b) => b.length - a.length);
  const axisOf = (metric: string): XAxis => {
    const glob = globs.find((name) => metric.startsWith(name.slice(0, -1)));
    const over = entries.get(metric) ?? (glob && entries.get(glob));
    return over && over !== metric ? metricAxis(over) : "step";
  };
  return { entries, axisOf };
}

function mapping(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
