// What the project view knows: its runs, its metrics, and the stream that keeps both up to date.
import { signal } from "@preact/signals";
import { ApiError, type MetricKey, metricKeys, projects, type Run, runs } from "../../api";
import { SeriesStore } from "../../chart/store";
import { assignColors } from "../../colors";
import { LiveStream } from "../../stream";

export class ProjectModel {
  /** By id, newest first; null until the first answer. */
  readonly runs = signal<ReadonlyMap<string, Run> | null>(null);
  /** Runs that began since: they wait until someone asks for them, so that nothing jumps. */
  readonly arrived = signal<ReadonlyMap<string, Run>>(new Map());
  readonly metrics = signal<string[]>([]);
  readonly error = signal<ApiError | null>(null);
  readonly stream = signal<LiveStream | null>(null);
  /** Where the list goes on, when the project has more runs than were fetched. */
  readonly nextCursor = signal<string | null>(null);
  readonly store = new SeriesStore();
  private closed = false;
  private changed = new Map<string, Run>();
  private frame = 0;

  constructor(
    private readonly workspace: string,
    private readonly project: string,
  ) {
    void this.load();
  }

  close(): void {
    this.closed = true;
    cancelAnimationFrame(this.frame);
    this.stream.value?.close();
    this.store.close();
  }

  async load(): Promise<void> {
    try {
      const { runs: list, page } = await runs(this.workspace, this.project, null);
      const projectId = list[0]?.projectId ?? (await this.findProject());
      const keys = await metricKeys({ projectId });
      if (this.closed) return;
      this.nextCursor.value = page.nextCursor;
      this.arrived.value = new Map();
      this.setRuns(list);
      this.setMetrics(keys);
      this.error.value = null;
      this.stream.value ??= this.openStream(projectId);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.error.value = error;
    }
  }

  async loadMore(): Promise<void> {
    try {
      const { runs: list, page } = await runs(this.workspace, this.project, this.nextCursor.value);
      this.nextCursor.value = page.nextCursor;
      this.setRuns([...(this.runs.value?.values() ?? []), ...list]);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.error.value = error;
    }
  }

  showArrived(): void {
    const list = [...this.arrived.value.values(), ...(this.runs.value?.values() ?? [])];
    this.arrived.value = new Map();
    this.setRuns(list.sort((a, b) => b.startedAtMs - a.startedAtMs));
  }

  private setRuns(newestFirst: Run[]): void {
    assignColors(newestFirst.map((run) => run.runId).reverse());
    this.runs.value = new Map(newestFirst.map((run) => [run.runId, run]));
  }

  private setMetrics(keys: MetricKey[]): void {
    this.metrics.value = keys.filter((key) => key.kind === "number").map((key) => key.metricKey);
  }

  private async findProject(): Promise<string> {
    const found = (await projects(this.workspace)).find((project) => project.projectSlug === this.project);
    if (found) return found.projectId;
    throw new ApiError(404, `There is no project ${this.project} in ${this.workspace}.`, "Look at the list of projects.");
  }

  private openStream(projectId: string): LiveStream {
    return new LiveStream({ projectId }, {
      run: (run) => this.onRun(run),
      points: (runId, keys) => {
        const numbers = keys.filter(([, points]) => !points.some(([, , value]) => typeof value === "string"));
        const fresh = numbers.map(([key]) => key).filter((key) => !this.metrics.value.includes(key));
        if (fresh.length && this.runs.value?.has(runId)) this.metrics.value = [...this.metrics.value, ...fresh];
        this.store.push(runId, numbers);
      },
      resync: () => {
        void this.load();
        this.store.refetch();
      },
    });
  }

  private onRun(run: Run): void {
    if (!this.runs.value?.has(run.runId)) {
      this.arrived.value = new Map([[run.runId, run], ...this.arrived.value]);
      if (!this.runs.value?.size) this.showArrived();
      return;
    }
    // Sixty live runs report a hundred times a second; the table follows once a frame.
    this.changed.set(run.runId, run);
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const merged = new Map(this.runs.value);
      for (const [runId, changed] of this.changed) if (merged.has(runId)) merged.set(runId, changed);
      this.changed.clear();
      this.runs.value = merged;
    });
  }
}
