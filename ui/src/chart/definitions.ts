// Which metric is the axis of which: `define_metric(..., step_metric=...)` leaves it in the run's config.
import type { Run, XAxis } from "../api";
import { metricAxis } from "./view";

export interface StepMetrics {
  /** By name, or by what names begin with and a `*`. */
  entries: ReadonlyMap<string, string>;
  axisOf(metric: string): XAxis;
  /** Whether `define_metric(..., hidden=True)` leaves its chart out. */
  isHidden(metric: string): boolean;
}

/** What the runs have defined; of two that contradict each other the first counts. */
export function stepMetrics(runs: readonly Run[]): StepMetrics {
  const entries = new Map<string, string>();
  const hiding = new Map<string, boolean>();
  for (const { config } of runs) {
    for (const [name, definition] of Object.entries(mapping(mapping(config._wandb).metrics))) {
      const over = mapping(definition).step_metric;
      if (typeof over === "string" && !entries.has(name)) entries.set(name, over);
      const { hidden } = mapping(definition);
      if (typeof hidden === "boolean" && !hiding.has(name)) hiding.set(name, hidden);
    }
  }
  const axisOf = (metric: string): XAxis => {
    const over = nearest(entries, metric);
    return over && over !== metric ? metricAxis(over) : "step";
  };
  return { entries, axisOf, isHidden: (metric) => nearest(hiding, metric) ?? false };
}

/** What is defined for the metric itself, else for the longest beginning of its name. */
function nearest<T>(defined: ReadonlyMap<string, T>, metric: string): T | undefined {
  const globs = [...defined.keys()].filter((name) => name.endsWith("*") && metric.startsWith(name.slice(0, -1)));
  return defined.get(metric) ?? defined.get(globs.sort((a, b) => b.length - a.length)[0] ?? metric);
}

function mapping(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
