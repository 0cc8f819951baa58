// What the comparison knows: the runs, whole, their metrics, and the stream that keeps them up to date.
import { signal } from "@preact/signals";
import { ApiError, metricKeys, run, type RunDetail } from "../../api";
import { SeriesStore } from "../../chart/store";
import { LiveStream } from "../../stream";

/** Requests under way at the same time. */
const AT_ONCE = 6;

export class CompareModel {
  /** In the order asked for; null until all have been read. */
  readonly runs = signal<readonly RunDetail[] | null>(null);
  /** Those that do not exist, or may not be seen. */
  readonly missing = signal<readonly string[]>([]);
  readonly metrics = signal<readonly string[]>([]);
  readonly error = signal<ApiError | null>(null);
  readonly stream = signal<LiveStream | null>(null);
  readonly store = new SeriesStore();
  private closed = false;

  constructor(private readonly runIds: readonly string[]) {
    void this.load();
  }

  close(): void {
    this.closed = true;
    this.stream.value?.close();
    this.store.close();
  }

  async load(): Promise<void> {
    const missing: string[] = [];
    const metrics = new Set<string>();
    try {
      const found = await eachOf(this.runIds, async (runId) => {
        try {
          const [detail, keys] = await Promise.all([run(runId), metricKeys({ runId })]);
          for (const key of keys) if (key.kind === "number") metrics.add(key.metricKey);
          return detail;
        } catch (error) {
          if (!(error instanceof ApiError) || error.status !== 404) throw error;
          missing.push(runId);
          return null;
        }
      });
      if (this.closed) return;
      this.metrics.value = [...metrics];
      this.missing.value = missing;
      this.runs.value = found.filter((detail) => detail !== null);
      this.error.value = null;
      this.follow();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.error.value = error;
    }
  }

  private follow(): void {
    const projectId = this.runs.value?.[0]?.projectId;
    if (projectId === undefined || this.stream.value) return;
    this.stream.value = new LiveStream({ projectId }, {
      run: (update) => {
        const runs = this.runs.value ?? [];
        if (runs.some((known) => known.runId === update.runId)) {
          this.runs.value = runs.map((known) => (known.runId === update.runId ? { ...known, ...update } : known));
        }
      },
      points: (runId, keys) => {
        if (!this.runIds.includes(runId)) return;
        const numbers = keys.filter(([, points]) => !points.some(([, , value]) => typeof value === "string"));
        const fresh = numbers.map(([key]) => key).filter((key) => !this.metrics.value.includes(key));
        if (fresh.length) this.metrics.value = [...this.metrics.value, ...fresh];
        this.store.push(runId, numbers);
      },
      marker: (runId, marker) => this.store.markers.add(runId, marker),
      resync: () => {
        void this.load();
        this.store.refetch();
        this.store.markers.refetch();
      },
    });
  }
}

/** What `act` makes of each, in their order, a few at a time. */
export async function eachOf<T, U>(items: readonly T[], act: (item: T) => Promise<U>): Promise<U[]> {
  const answers: U[] = [];
  for (let from = 0; from < items.length; from += AT_ONCE) {
    answers.push(...(await Promise.all(items.slice(from, from + AT_ONCE).map(act))));
  }
  return answers;
}
