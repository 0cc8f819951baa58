// What happened while runs trained, for charts over many of them: read for the runs that are shown, then kept up live.
import { signal } from "@preact/signals";
import { ApiError, buckets, type Marker, markersOf } from "../api";
import { Line } from "./line";

const MAX_RUNS = 200;
const MAX_SERIES = 1000;
const PLACES = 1000;

/** What a metric that is an axis was at each step: by metric, then by run. */
export type StepLines = ReadonlyMap<string, ReadonlyMap<string, Line>>;

export class MarkerStore {
  readonly all = signal<ReadonlyMap<string, readonly Marker[]>>(new Map());
  /** Markers know steps alone: these lead from there to their places on axes that are metrics. */
  readonly steps = signal<StepLines>(new Map());
  private wanted: readonly string[] = [];
  private readonly closing = new AbortController();

  /** Reads those of the runs that are not known yet. Charts do without markers while the server does not answer. */
  async want(runIds: readonly string[]): Promise<void> {
    this.wanted = runIds;
    const fresh = runIds.filter((runId) => !this.all.peek().has(runId));
    for (let from = 0; from < fresh.length; from += MAX_RUNS) await this.read(fresh.slice(from, from + MAX_RUNS));
  }

  private async read(runIds: string[]): Promise<void> {
    try {
      const found = await markersOf(runIds);
      if (!this.closing.signal.aborted) this.all.value = new Map([...this.all.value, ...Object.entries(found)]);
    } catch (error) {
      // The charts' own request fails for the same reason, and says so.
      if (!(error instanceof ApiError)) throw error;
    }
  }

  /** Reads what these metrics were, in the first runs of these. */
  async readSteps(metrics: readonly string[], runIds: readonly string[]): Promise<void> {
    const runs = runIds.slice(0, Math.min(MAX_RUNS, Math.floor(MAX_SERIES / metrics.length)));
    try {
      const query = { runIds: runs, metricKeys: [...metrics], x: "step" as const, logX: false, buckets: PLACES, from: null, to: null };
      const found = new Map<string, Map<string, Line>>(metrics.map((metric) => [metric, new Map()]));
      for (const column of await buckets(query, this.closing.signal)) found.get(column.metricKey)?.set(column.runId, new Line(column));
      this.steps.value = found;
    } catch (error) {
      if (!(error instanceof ApiError) && !this.closing.signal.aborted) throw error;
    }
  }

  /** A marker, as the stream brings it. */
  add(runId: string, marker: Marker): void {
    const known = this.all.peek().get(runId);
    if (known) this.all.value = new Map([...this.all.value, [runId, [...known, marker]]]);
  }

  /** Some may have been missed: read all of them again. */
  refetch(): void {
    void this.read([...this.wanted].slice(0, MAX_RUNS));
  }

  close(): void {
    this.closing.abort();
  }
}

export function markerWord(kind: string): string {
  return WORDS.get(kind) ?? kind;
}

const WORDS = new Map([
  ["non_finite", "not finite"],
  ["control", "dials turned"],
  ["checkpoint", "checkpoints"],
  ["alert", "alerts"],
  ["resume", "resumes"],
  ["stage", "stages"],
  ["event", "events"],
]);
