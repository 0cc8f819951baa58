// What the media view knows: of the runs in their order those that have the key, read in batches as far as one looks.
import { batch, signal } from "@preact/signals";
import { ApiError } from "../../api";
import { mediaAt, type RunMedia } from "./media.api";

export interface Scope {
  runIds: readonly string[];
  key: string;
  /** Null stands for the newest. */
  step: number | null;
}

/** Runs asked about at once. */
const BATCH = 50;
/** Runs that are shown before one scrolls. */
const PAGE = 60;
/** Items of each run. */
const ITEMS = 24;

interface Reading {
  scope: Scope;
  found: Map<string, RunMedia>;
  steps: Set<number>;
  /** Runs that were asked about. */
  asked: number;
}

export class MediaGrid {
  readonly media = signal<ReadonlyMap<string, RunMedia>>(new Map());
  readonly steps = signal<readonly number[]>([]);
  /** Whether what is shown is that of the scope. */
  readonly fresh = signal(false);
  /** Whether all runs were asked about. */
  readonly done = signal(false);
  readonly error = signal<ApiError | null>(null);
  private scope: Scope | null = null;
  private reading: Reading | null = null;
  private most = PAGE;
  private busy = false;
  private closed = false;

  close(): void {
    this.closed = true;
  }

  /** What is there stays until the other step, or what is new, has been read; another key begins anew. */
  look(scope: Scope): void {
    if (scope.key !== this.scope?.key) {
      this.most = PAGE;
      this.media.value = new Map();
      this.steps.value = [];
    }
    this.scope = scope;
    this.fresh.value = this.done.value = false;
    void this.load();
  }

  /** There is room for more runs. */
  more(): void {
    this.most = Math.max(this.most, (this.reading?.found.size ?? 0) + PAGE);
    void this.load();
  }

  retry(): void {
    this.error.value = null;
    void this.load();
  }

  private async load(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      for (let next = this.next(); next; next = this.next()) {
        const { scope } = next;
        const runIds = scope.runIds.slice(next.asked, next.asked + BATCH);
        const { steps, runs } = await mediaAt(runIds, scope.key, scope.step, ITEMS);
        next.asked += runIds.length;
        for (const step of steps) next.steps.add(step);
        for (const runId of runIds) if (runs[runId]) next.found.set(runId, runs[runId]);
        this.show(next);
      }
      this.error.value = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.error.value = error;
    } finally {
      this.busy = false;
    }
  }

  /** What is to be read on; null when there is enough. */
  private next(): Reading | null {
    if (this.closed || !this.scope) return null;
    if (this.reading?.scope !== this.scope) this.reading = { scope: this.scope, found: new Map(), steps: new Set(), asked: 0 };
    const { asked, found, scope } = this.reading;
    return asked < scope.runIds.length && found.size < this.most ? this.reading : null;
  }

  private show(reading: Reading): void {
    if (this.closed || reading.scope !== this.scope) return;
    const done = reading.asked >= reading.scope.runIds.length;
    const fresh = done || reading.found.size >= this.most;
    const asked = new Set(reading.scope.runIds.slice(0, reading.asked));
    batch(() => {
      // Those that were not asked about yet stay as they were.
      const old = [...this.media.value].filter(([runId]) => !fresh && !asked.has(runId));
      this.media.value = new Map([...old, ...reading.found]);
      this.steps.value = [...new Set([...reading.steps, ...(fresh ? [] : this.steps.value)])].sort((a, b) => a - b);
      this.done.value = done;
      this.fresh.value = fresh;
    });
  }
}
