// What the artifacts view knows: the list, and the version that is open.
import { signal } from "@preact/signals";
import { ApiError } from "../../api";
import { artifact, type RunArtifact, runArtifacts, type WholeArtifact } from "./artifacts.api";

/** However fast checkpoints are made, the page asks once in this time. */
const CALM_MS = 1000;
/** Files of a version in its first answer, and in each after it. */
const FIRST_FILES = 1000;
const MORE_FILES = 20_000;

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
  private loading = false;

  constructor(private readonly artifactId: string) {}

  close(): void {
    this.closed = true;
  }

  /** Fetches it, then its files page by page. They never change, so later only what surrounds them is asked for again. */
  async load(): Promise<void> {
    if (this.loading) return;
    this.loading = true;
    try {
      let known = this.found.value;
      if (known) {
        const { files: _, page: __, ...news } = await artifact(this.artifactId, null, 1);
        known = { ...known, ...news };
      } else known = await artifact(this.artifactId, null, FIRST_FILES);
      for (this.show(known); known.page.nextCursor !== null && !this.closed; this.show(known)) {
        const next: WholeArtifact = await artifact(this.artifactId, known.page.nextCursor, MORE_FILES);
        known = { ...known, files: [...known.files, ...next.files], page: next.page };
      }
      this.error.value = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.error.value = error;
    } finally {
      this.loading = false;
    }
  }

  private show(found: WholeArtifact): void {
    if (!this.closed) this.found.value = found;
  }
}
