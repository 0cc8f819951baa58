// The numbers behind all charts of a view: fetched together, only for charts on the screen, and kept growing by
// live points until the next fetch.
import { batch, type Signal, signal } from "@preact/signals";
import { ApiError, buckets, type XAxis } from "../api";
import type { LivePoints } from "../stream";
import { Line } from "./line";
import { MarkerStore } from "./markers";
import { axisMetric, type Range, type Zoom, zoomOf } from "./view";

export interface Scope {
  /** The runs that are shown: id and the start from which relative time counts, Unix milliseconds. */
  runs: ReadonlyMap<string, number>;
  /** The axis of each metric's chart. */
  xOf(key: string): XAxis;
  /** Changes whenever `xOf` does. */
  axes: string;
  logX: boolean;
  zoom: Zoom | null;
}

/** One metric's lines. `version` changes whenever they do. */
export interface ChartData {
  lines: Map<string, Line>;
  version: Signal<number>;
}

const BUCKETS = 400;
/** A line longer than this is fetched again, in buckets, rather than drawn with ever more live points. */
const MAX_LENGTH = 4 * BUCKETS;
const MAX_SERIES = 1000;
const MAX_RUNS = 200;
const GATHER_MS = 5;
const REFRESH_MS = 2000;
/** Live points are drawn this often: the eye follows, and the main thread stays free. */
const CALM_MS = 250;

type PointEvent = [runId: string, keys: [string, LivePoints[string]][]];

export class SeriesStore {
  readonly loading = signal(false);
  readonly error = signal<ApiError | null>(null);
  /** What happened in the runs that are shown, where the view knows it from nowhere else. */
  readonly markers = new MarkerStore();
  private scope: Scope = { runs: new Map(), xOf: () => "step", axes: "", logX: false, zoom: null };
  private readonly charts = new Map<string, ChartData>();
  private readonly wanted = new Map<string, number>();
  private fresh = new WeakSet<Line>();
  private readonly dirty = new Set<string>();
  private frame = 0;
  private calm = 0;
  private timer = 0;
  private due = 0;
  /** Something was asked for while a request was under way. */
  private again = false;
  private flight: AbortController | null = null;
  private arrivedInFlight: PointEvent[] = [];

  chart(key: string): ChartData {
    let data = this.charts.get(key);
    if (!data) {
      data = { lines: new Map(), version: signal(0) };
      this.charts.set(key, data);
    }
    return data;
  }

  /** Keeps `key` loaded until the returned function is called. */
  want(key: string): () => void {
    this.wanted.set(key, (this.wanted.get(key) ?? 0) + 1);
    this.loadSoon(GATHER_MS);
    return () => {
      const left = this.wanted.get(key)! - 1;
      if (left) this.wanted.set(key, left);
      else this.wanted.delete(key);
    };
  }

  setScope(scope: Scope): void {
    const otherUnits = scope.axes !== this.scope.axes;
    const sameZoom = JSON.stringify(scope.zoom) === JSON.stringify(this.scope.zoom);
    const sameAxis = !otherUnits && sameZoom && scope.logX === this.scope.logX;
    this.scope = scope;
    // Lines in steps would be nonsense on an axis of seconds; those of another zoom are still true.
    if (otherUnits) for (const data of this.charts.values()) data.lines.clear();
    if (sameAxis) this.loadSoon(GATHER_MS);
    else this.refetch();
    for (const key of this.wanted.keys()) this.touch(key);
  }

  /** Everything here may be out of date: fetch what is on the screen again, the old stays until then. */
  refetch(): void {
    this.fresh = new WeakSet();
    this.flight?.abort();
    this.loadSoon(GATHER_MS);
  }

  close(): void {
    clearTimeout(this.timer);
    clearTimeout(this.calm);
    cancelAnimationFrame(this.frame);
    this.flight?.abort();
    this.wanted.clear();
    this.markers.close();
  }

  /** Live points, as the stream brings them. */
  push(runId: string, keys: PointEvent[1]): void {
    if (this.flight) this.arrivedInFlight.push([runId, keys]);
    for (const [key, points] of keys) this.pushKey(runId, key, points);
  }

  private pushKey(runId: string, key: string, points: LivePoints[string]): void {
    const line = this.charts.get(key)?.lines.get(runId);
    const start = this.scope.runs.get(runId);
    if (start === undefined) return;
    // No line yet: the metric is new, or its chart has not been on the screen; a fetch brings the points.
    if (!line) return this.wanted.has(key) ? this.loadSoon(GATHER_MS) : undefined;
    let whole = points.length > 0 && line.length + points.length <= MAX_LENGTH;
    const x = this.scope.xOf(key);
    // Only the server knows what the metric that is the axis was at a step.
    if (axisMetric(x)) whole = false;
    if (whole) for (const point of points) whole = this.pushPoint(line, start, x, point) && whole;
    if (!whole) this.stale(line);
    this.dirty.add(key);
    this.calm ||= window.setTimeout(() => this.flush(), CALM_MS);
  }

  private pushPoint(line: Line, startMs: number, axis: XAxis, [step, timeMs, value]: LivePoints[string][number]): boolean {
    if (typeof value !== "number") return true;
    const x = axis === "step" ? step : axis === "wall" ? timeMs / 1000 : (timeMs - startMs) / 1000;
    const zoom = zoomOf(this.scope.zoom, axis);
    if (zoom && (x < zoom[0] || x > zoom[1])) return true;
    if (line.append(x, value)) return true;
    // The fetch that just ended may have brought this very point already.
    const at = line.nearest(x);
    return line.x[at] === x && line.mean[at] === value;
  }

  private stale(line: Line): void {
    this.fresh.delete(line);
    this.loadSoon(REFRESH_MS);
  }

  private loadSoon(delay: number): void {
    const due = performance.now() + delay;
    if (this.timer && this.due <= due) return;
    clearTimeout(this.timer);
    this.due = due;
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      void this.load();
    }, delay);
  }

  /** What to ask for next: one request has one axis. */
  private missing(): { keys: string[]; runs: string[]; x: XAxis; more: boolean } {
    const keys = new Set<string>();
    const runs = new Set<string>();
    let x: XAxis | null = null;
    let others = false;
    for (const key of this.wanted.keys()) {
      if (x !== null && this.scope.xOf(key) !== x) {
        others = true;
        continue;
      }
      const { lines } = this.chart(key);
      for (const runId of this.scope.runs.keys()) {
        const line = lines.get(runId);
        if (line && this.fresh.has(line)) continue;
        if (runs.size < MAX_RUNS) runs.add(runId);
        keys.add(key);
        x = this.scope.xOf(key);
      }
    }
    const most = Math.floor(MAX_SERIES / Math.max(1, runs.size));
    const more = others || keys.size > most || runs.size === MAX_RUNS;
    return { keys: [...keys].slice(0, most), runs: [...runs], x: x ?? "step", more };
  }

  private async load(): Promise<void> {
    if (this.flight) {
      this.again = true;
      return;
    }
    const { keys, runs, x, more } = this.missing();
    if (!keys.length) return;
    this.again = more;
    const zoom: Range | null = zoomOf(this.scope.zoom, x);
    const flight = new AbortController();
    this.flight = flight;
    this.arrivedInFlight = [];
    this.loading.value = true;
    try {
      const query = { runIds: runs, metricKeys: keys, x, logX: this.scope.logX, buckets: BUCKETS, from: zoom?.[0] ?? null, to: zoom?.[1] ?? null };
      const columns = await buckets(query, flight.signal);
      if (!flight.signal.aborted) this.take(keys, runs, columns);
      this.error.value = null;
    } catch (error) {
      if (!flight.signal.aborted) this.error.value = asApiError(error);
    }
    this.flight = null;
    this.loading.value = false;
    for (const key of keys) this.touch(key);
    const failed = this.error.value && !flight.signal.aborted;
    if (!failed) this.loadSoon(this.again || flight.signal.aborted ? GATHER_MS : REFRESH_MS);
  }

  private take(keys: string[], runs: string[], columns: Awaited<ReturnType<typeof buckets>>): void {
    for (const key of keys) {
      const { lines } = this.chart(key);
      // A run without this metric gets an empty line, so that it is not asked for again.
      for (const runId of runs) this.put(lines, runId, new Line(null));
    }
    for (const column of columns) this.put(this.chart(column.metricKey).lines, column.runId, new Line(column));
    for (const [runId, points] of this.arrivedInFlight) {
      for (const [key, values] of points) this.catchUp(runId, key, values);
    }
  }

  private put(lines: Map<string, Line>, runId: string, line: Line): void {
    lines.set(runId, line);
    this.fresh.add(line);
  }

  private catchUp(runId: string, key: string, points: LivePoints[string]): void {
    const line = this.charts.get(key)?.lines.get(runId);
    const start = this.scope.runs.get(runId);
    if (!line || start === undefined) return;
    const x = this.scope.xOf(key);
    // What lies further back than the end of the reply is most likely in the reply.
    if (!axisMetric(x)) for (const point of points) this.pushPoint(line, start, x, point);
  }

  private touch(key: string): void {
    this.dirty.add(key);
    this.frame ||= requestAnimationFrame(() => this.flush());
  }

  private flush(): void {
    cancelAnimationFrame(this.frame);
    clearTimeout(this.calm);
    this.frame = this.calm = 0;
    batch(() => {
      for (const changed of this.dirty) this.chart(changed).version.value++;
    });
    this.dirty.clear();
  }
}

function asApiError(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError(0, String(error instanceof Error ? error.message : error), null);
}
