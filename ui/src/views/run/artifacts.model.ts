// What the artifacts view knows: the list, and the version that is open.
import { signal } from "@preact/signals";
import { ApiError } from "../../api";
import { artifact, type RunArtifact, runArtifacts, type WholeArtifact } from "./artifacts.api";

/** However fast checkpoints are made, the page asks once in this time. */
const CALM_MS = 1000;

export class ArtifactList {
  readonly rows = signal<RunArtifact[] | null>(null);
  readonly hasMore = signal(false);
  readonly error = signal<ApiError | null>(null);
  private cursor: string | null = null;
  private asked = 0;
  private last = 0;
  private timer = 0;

  constructor(private readonly runId: string) {}

  /** Fetches the newest, now or as soon as the last time is long enough ago. */
  refresh(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.fetch(null), Math.max(0, this.last + CALM_MS - Date.now()));
  }

  older(): Promise<void> {
    return this.fetch(this.cursor);
  }

  close(): void {
    clearTimeout(this.timer);
    this.asked++;
  }

  private async fetch(cursor: string | null): Promise<void> {
    const asked = ++this.asked;
    this.last = Date.now();
    try {
      const found = await runArtifacts(this.runId, cursor);
      if (asked !== this.asked) return;
      this.rows.value = [...(cursor ? this.rows.value ?? [] : []), ...found.artifacts];
      this.cursor = found.page.nextCursor;
      this.hasMore.value = found.page.hasMore;
      this.error.value = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (asked === this.asked) this.error.value = error;
    }
  }
}

export class OpenArtifact {
  readonly found = signal<WholeArtifact | null>(null);
  readonly error = signal<ApiError | null>(null);
  private closed = false;

  constructor(private readonly artifactId: string) {}

  close(): void {
    this.closed = true;
  }

  /** Fetches it, or the files after those that are there. */
  async load(more = false): Promise<void> {
    try {
      const known = more ? this.found.value : null;
      const found = await artifact(this.artifactId, known?.page.nextCursor ?? null);
      if (this.closed) return;
      this.found.value = known ? { ...found, files: [...known.files, ...found.files] } : found;
      this.error.value = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.error.value = error;
    }
  }
}
