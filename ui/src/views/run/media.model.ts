// The media of a run: which keys there are, and the items of those that are looked at.
import { signal } from "@preact/signals";
import { ApiError } from "../../api";
import { type MediaItem, type MediaKey, mediaItems, mediaKeys } from "./media.api";

/** A run that logs pictures at every step must not make the page fetch at every step. */
const PAUSE_MS = 2000;

export class MediaModel {
  /** Null until the first answer. */
  readonly keys = signal<readonly MediaKey[] | null>(null);
  /** By name; a key that nobody has asked for is not in it. */
  readonly items = signal<ReadonlyMap<string, readonly MediaItem[]>>(new Map());
  readonly error = signal<ApiError | null>(null);
  private readonly wanted = new Set<string>();
  private readonly counts = new Map<string, number>();
  private total = -1;
  private closed = false;
  private loading = false;
  private again = false;
  private timer = 0;

  constructor(readonly runId: string) {}

  close(): void {
    this.closed = true;
    clearTimeout(this.timer);
  }

  /** Fetch the keys, and of the wanted ones those that have grown; once more if asked meanwhile. */
  async load(): Promise<void> {
    if (this.loading) {
      this.again = true;
      return;
    }
    this.loading = true;
    try {
      const keys = await mediaKeys(this.runId);
      const total = keys.reduce((sum, { count }) => sum + count, 0);
      // There is something new and no more than before: an item has taken another's place.
      if (total === this.total) this.counts.clear();
      this.total = total;
      this.keys.value = keys;
      for (const key of this.wanted) await this.fetch(key);
      this.error.value = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.error.value = error;
    } finally {
      this.loading = false;
    }
    if (this.again && !this.closed) {
      this.again = false;
      this.timer = window.setTimeout(() => void this.load(), PAUSE_MS);
    }
  }

  /** From now on the items of this key are kept up to date. */
  want(key: string): void {
    if (this.wanted.has(key)) return;
    this.wanted.add(key);
    this.total = -1;
    void this.load();
  }

  private async fetch(key: string): Promise<void> {
    const count = this.keys.value?.filter((known) => known.key === key).reduce((sum, known) => sum + known.count, 0) ?? 0;
    if (this.closed || this.counts.get(key) === count) return;
    const items = await mediaItems(this.runId, key);
    this.counts.set(key, count);
    this.items.value = new Map(this.items.value).set(key, items);
  }
}

/** The items of the newest step that is not after `step`, or of the first there is; null stands for the newest. */
export function itemsAt(items: readonly MediaItem[], step: number | null): readonly MediaItem[] {
  const steps = stepsOf(items);
  const at = step === null ? steps.at(-1) : steps.filter((known) => known <= step).at(-1) ?? steps[0];
  return items.filter((item) => (item.step ?? 0) === at);
}

/** The steps at which there are items, ascending. */
export function stepsOf(items: Iterable<MediaItem>): number[] {
  return [...new Set([...items].map((item) => item.step ?? 0))].sort((a, b) => a - b);
}
