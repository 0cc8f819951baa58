// What the project view knows: its runs, its metrics, and the stream that keeps both up to date.
import { batch, signal } from "@preact/signals";
import { ApiError, type MetricKey, metricKeys, projects, type Run, runs } from "../../api";
import { SeriesStore } from "../../chart/store";
import { assignColors } from "../../colors";
import { count } from "../../format";
import { LiveStream } from "../../stream";
import { deleteRuns, editRun, editRuns, restoreRuns, type RunEdit, type RunsEdit } from "./runs.api";

/** Runs that are fetched without being asked for. */
const FETCHED = 10_000;

/** What was just done, and how to take it back. */
export interface Notice {
  words: string;
  undo?: () => Promise<void>;
}

export class ProjectModel {
  /** By id, newest first; null until the first answer. */
  readonly runs = signal<ReadonlyMap<string, Run> | null>(null);
  /** Runs that began since: they wait until someone asks for them, so that nothing jumps. */
  readonly arrived = signal<ReadonlyMap<string, Run>>(new Map());
  readonly metrics = signal<string[]>([]);
  readonly error = signal<ApiError | null>(null);
  /** Changes when runs come or go, not when they change. */
  readonly members = signal(0);
  readonly notice = signal<Notice | null>(null);
  readonly stream = signal<LiveStream | null>(null);
  /** Where the list goes on, when the project has more runs than were fetched. */
  readonly nextCursor = signal<string | null>(null);
  /** Goes up when more is known of the project's sweeps. */
  readonly sweeps = signal(0);
  /** Goes up when a run has more media. */
  readonly media = signal(0);
  readonly store = new SeriesStore();
  private closed = false;
  /** Counts loads: only the newest may answer. */
  private turn = 0;
  private changed = new Map<string, Run>();
  private colored: string[] = [];
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
    const turn = ++this.turn;
    const stale = () => this.closed || turn !== this.turn;
    const first = this.runs.value === null;
    try {
      let found = await runs(this.workspace, this.project, null);
      const list = found.runs;
      const projectId = list[0]?.projectId ?? (await this.findProject());
      const keys = await metricKeys({ projectId });
      if (stale()) return;
      this.setMetrics(keys);
      this.error.value = null;
      this.stream.value ??= this.openStream(projectId);
      // The first rows are shown at once; later, those that are there stay until all are known again.
      if (first) this.take(list, found.page.nextCursor);
      while (found.page.nextCursor && list.length < FETCHED) {
        found = await runs(this.workspace, this.project, found.page.nextCursor);
        if (stale()) return;
        list.push(...found.runs);
        if (first) this.take(list, found.page.nextCursor);
      }
      if (!first) this.take(list, found.page.nextCursor);
      this.arrived.value = new Map();
    } catch (error) {
      if (!stale()) this.fail(error);
    }
  }

  async loadMore(): Promise<void> {
    try {
      const { runs: list, page } = await runs(this.workspace, this.project, this.nextCursor.value);
      if (!this.closed) this.take([...(this.runs.value?.values() ?? []), ...list], page.nextCursor);
    } catch (error) {
      this.fail(error);
    }
  }

  /** What the stream told of a run since the list was made stays. */
  private take(list: readonly Run[], nextCursor: string | null): void {
    const known = this.runs.value;
    this.nextCursor.value = nextCursor;
    this.setRuns(list.map((run) => {
      const other = known?.get(run.runId);
      return other && other.updatedAtMs > run.updatedAtMs ? other : run;
    }));
  }

  private fail(error: unknown): void {
    if (!(error instanceof ApiError)) throw error;
    if (!this.closed) this.error.value = error;
  }

  showArrived(): void {
    const list = [...this.arrived.value.values(), ...(this.runs.value?.values() ?? [])];
    this.arrived.value = new Map();
    this.setRuns(list.sort((a, b) => b.startedAtMs - a.startedAtMs));
  }

  /** Changes one run; false when the server refused, which the view then says. */
  async edit(runId: string, edit: RunEdit): Promise<boolean> {
    return this.attempt(async () => this.replace([await editRun(runId, edit)]));
  }

  /** Tags, archives or brings back several runs. */
  async editAll(chosen: readonly Run[], edit: RunsEdit): Promise<boolean> {
    return this.attempt(async () => {
      await editRuns(chosen.map((run) => run.runId), edit);
      this.replace(chosen.map((run) => {
        const tags = run.tags.filter((tag) => !edit.removeTags?.includes(tag));
        const archivedAtMs = edit.archived === undefined ? run.archivedAtMs : edit.archived ? Date.now() : null;
        return { ...(this.runs.value?.get(run.runId) ?? run), tags: [...new Set([...tags, ...(edit.addTags ?? [])])], archivedAtMs };
      }));
    });
  }

  async archive(chosen: readonly Run[], archived: boolean): Promise<boolean> {
    const done = await this.editAll(chosen, { archived });
    const words = `${count(chosen.length, "run")} ${archived ? "archived" : "taken from the archive"}.`;
    if (done) this.notice.value = { words, undo: async () => void (await this.editAll(chosen, { archived: !archived })) };
    return done;
  }

  async delete(chosen: readonly Run[]): Promise<boolean> {
    const ended = chosen.filter((run) => run.status !== "running");
    const left = chosen.length - ended.length;
    const rest = left ? ` ${count(left, "run")} still running ${left === 1 ? "was" : "were"} left.` : "";
    if (!ended.length) {
      this.notice.value = { words: "Runs that are running cannot be deleted." };
      return false;
    }
    const done = await this.attempt(async () => {
      await deleteRuns(ended.map((run) => run.runId));
      this.forget(ended.map((run) => run.runId));
    });
    const undo = async () => {
      await this.attempt(async () => {
        await restoreRuns(ended.map((run) => run.runId));
        this.add(ended);
      });
    };
    if (done) this.notice.value = { words: `${count(ended.length, "run")} deleted.${rest}`, undo };
    return done;
  }

  private async attempt(act: () => Promise<void>): Promise<boolean> {
    try {
      await act();
      return true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.notice.value = { words: [error.message, error.hint].filter(Boolean).join(" ") };
      return false;
    }
  }

  private replace(changed: readonly Run[]): void {
    const merged = new Map(this.runs.value);
    for (const run of changed) if (merged.has(run.runId)) merged.set(run.runId, run);
    this.runs.value = merged;
  }

  private forget(runIds: readonly string[]): void {
    const gone = new Set(runIds);
    this.arrived.value = new Map([...this.arrived.value].filter(([runId]) => !gone.has(runId)));
    this.setRuns([...(this.runs.value?.values() ?? [])].filter((run) => !gone.has(run.runId)));
  }

  private add(runs: readonly Run[]): void {
    const all = new Map([...(this.runs.value ?? []), ...runs.map((run): [string, Run] => [run.runId, run])]);
    const added = new Set(runs.map((run) => run.runId));
    this.arrived.value = new Map([...this.arrived.value].filter(([runId]) => !added.has(runId)));
    this.setRuns([...all.values()].sort((a, b) => b.startedAtMs - a.startedAtMs));
  }

  private setRuns(newestFirst: Run[]): void {
    // Until the oldest are known, places in the list would give runs another colour with every page: then by id.
    // Runs that are deleted keep their places, so that the others keep their colours.
    const known = new Set(this.colored);
    const fresh = newestFirst.map((run) => run.runId).filter((runId) => !known.has(runId));
    this.colored = this.nextCursor.value ? [] : [...this.colored, ...fresh.reverse()];
    assignColors(this.colored);
    batch(() => {
      this.runs.value = new Map(newestFirst.map((run) => [run.runId, run]));
      this.members.value++;
    });
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
      more: (runId, kinds) => {
        if (kinds.includes("deleted")) this.forget([runId]);
        if (kinds.includes("sweeps")) this.sweeps.value++;
        if (kinds.includes("media")) this.media.value++;
      },
      marker: (runId, marker) => this.store.markers.add(runId, marker),
      resync: () => {
        void this.load();
        this.sweeps.value++;
        this.media.value++;
        this.store.refetch();
        this.store.markers.refetch();
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
