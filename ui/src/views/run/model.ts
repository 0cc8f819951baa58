// What the run view knows: the run, its markers and metrics, and the stream that keeps them up to date.
import { signal } from "@preact/signals";
import { ApiError, type Marker, markers, metricKeys, run, type RunDetail } from "../../api";
import { withMarker } from "../../chart/markers";
import { SeriesStore } from "../../chart/store";
import { LiveStream, type LivePoints } from "../../stream";

/** Speed is taken over this long: short enough to follow a change, long enough to be calm. */
const SPEED_WINDOW_MS = 20_000;
const CALM_MS = 250;
/** Attempts are not in the stream: they are read this often while there is news. */
const REREAD_MS = 15_000;
const KINDS = ["logs", "spans", "media", "artifacts", "evals", "dials"];

export class RunModel {
  readonly run = signal<RunDetail | null>(null);
  readonly markers = signal<readonly Marker[]>([]);
  readonly metrics = signal<string[]>([]);
  readonly error = signal<ApiError | null>(null);
  /** How often there was more of each kind (logs, spans, media, artifacts, evals): its view fetches when it grows. */
  readonly more = signal<Readonly<Record<string, number>>>({});
  /** The newest step that has been seen; the run's own is up to half a second behind. */
  readonly step = signal<number | null>(null);
  readonly stepsPerSecond = signal<number | null>(null);
  readonly stream: LiveStream;
  readonly store = new SeriesStore();
  private closed = false;
  private stall = 0;
  private telling = 0;
  private read = 0;
  private recent: [step: number, timeMs: number][] = [];

  constructor(readonly runId: string) {
    this.stream = new LiveStream({ runId }, {
      run: (update) => {
        const known = this.run.value;
        if (!known) return;
        this.run.value = { ...known, ...update };
        this.reach(update.lastStep);
        // Attempts and traceback are not in the short form.
        if (known.status !== update.status || Date.now() - this.read > REREAD_MS) void this.load();
      },
      points: (_, keys) => this.onPoints(keys),
      marker: (_, marker) => {
        this.markers.value = withMarker(this.markers.value, marker);
      },
      more: (_, kinds) => this.count(kinds),
      resync: () => {
        void this.load();
        this.store.refetch();
        this.count(KINDS);
      },
    });
    void this.load();
  }

  private count(kinds: readonly string[]): void {
    this.more.value = { ...this.more.value, ...Object.fromEntries(kinds.map((kind) => [kind, (this.more.value[kind] ?? 0) + 1])) };
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.stall);
    clearTimeout(this.telling);
    this.stream.close();
    this.store.close();
  }

  async load(): Promise<void> {
    this.read = Date.now();
    try {
      const scope = { runId: this.runId };
      const [detail, moments, keys] = await Promise.all([run(this.runId), markers(this.runId), metricKeys(scope)]);
      if (this.closed) return;
      this.run.value = detail;
      this.markers.value = moments;
      this.metrics.value = keys.filter((key) => key.kind === "number").map((key) => key.metricKey);
      this.reach(detail.lastStep);
      this.error.value = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.error.value = error;
    }
  }

  private onPoints(keys: [string, LivePoints[string]][]): void {
    const numbers = keys.filter(([, points]) => !points.some(([, , value]) => typeof value === "string"));
    const fresh = numbers.map(([key]) => key).filter((key) => !this.metrics.value.includes(key));
    if (fresh.length) this.metrics.value = [...this.metrics.value, ...fresh];
    this.store.push(this.runId, numbers);
    for (const [key, points] of numbers) {
      if (key.startsWith("system/")) continue; // their steps are times
      const newest = points.at(-1);
      if (newest && newest[0] >= (this.step.value ?? -Infinity)) this.advance(newest[0], newest[1]);
    }
  }

  private tell(): void {
    this.telling = 0;
    const [step, timeMs] = this.recent.at(-1) ?? [0, 0];
    this.recent = this.recent.filter(([, time]) => time > timeMs - SPEED_WINDOW_MS);
    const [firstStep, firstTime] = this.recent[0] ?? [0, 0];
    if (timeMs) this.reach(step);
    this.stepsPerSecond.value = timeMs > firstTime ? ((step - firstStep) * 1000) / (timeMs - firstTime) : null;
  }

  private reach(step: number | null): void {
    if (step !== null && step > (this.step.value ?? -Infinity)) this.step.value = step;
  }

  private advance(step: number, timeMs: number): void {
    this.recent.push([step, timeMs]);
    // A hundred points a second would write the line at the top as often.
    this.telling ||= window.setTimeout(() => this.tell(), CALM_MS);
    // A job that hangs has no speed.
    clearTimeout(this.stall);
    this.stall = window.setTimeout(() => {
      this.recent = [];
      this.stepsPerSecond.value = null;
    }, SPEED_WINDOW_MS);
  }
}
