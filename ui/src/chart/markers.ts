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
  /** Brought by the stream while markers are being read: the answer may be older than they are. */
  private arrived: [runId: string, marker: Marker][] = [];
  private reading = 0;
  private readonly closing = new AbortController();

  /** Reads those of the runs that are not known yet. Charts do without markers while the server does not answer. */
  async want(runIds: readonly string[]): Promise<void> {
    this.wanted = runIds;
    await this.read(runIds.filter((runId) => !this.all.peek().has(runId)));
  }

  private async read(runIds: readonly string[]): Promise<void> {
    this.reading++;
    try {
      for (let from = 0; from < runIds.length; from += MAX_RUNS) {
        const found = await markersOf(runIds.slice(from, from + MAX_RUNS));
        if (!this.closing.signal.aborted) this.all.value = new Map([...this.all.value, ...Object.entries(found)]);
      }
    } catch (error) {
      // The charts' own request fails for the same reason, and says so.
      if (!(error instanceof ApiError)) throw error;
    }
    const late = this.arrived;
    if (--this.reading === 0) this.arrived = [];
    for (const [runId, marker] of late) this.put(runId, marker);
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
    if (this.reading) this.arrived.push([runId, marker]);
    this.put(runId, marker);
  }

  private put(runId: string, marker: Marker): void {
    const known = this.all.peek().get(runId);
    const more = known && withMarker(known, marker);
    if (more && more !== known) this.all.value = new Map([...this.all.value, [runId, more]]);
  }

  /** Some may have been missed: read all of them again. */
  refetch(): void {
    void this.read(this.wanted);
  }

  close(): void {
    this.closing.abort();
  }
}

/** With one more, unless it has been read already. */
export function withMarker(markers: readonly Marker[], marker: Marker): readonly Marker[] {
  const { timeMs, kind, name, step } = marker;
  const known = markers.some((one) => one.timeMs === timeMs && one.kind === kind && one.name === name && one.step === step);
  return known ? markers : [...markers, marker];
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
