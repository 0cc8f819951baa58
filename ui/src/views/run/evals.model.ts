// What the view of evaluations knows: the eval runs there are, and a list of rows that grows by pages.
import { signal } from "@preact/signals";
import { ApiError } from "../../api";
import { type EvalRun, evalRuns, type Rows, suiteRuns } from "./evals.api";

const PAGE = 500;
const MOST = 1000;

type Fetch<T> = (cursor: string | null, limit: number) => Promise<Rows<T>>;

/** Rows in the order of the server. What was asked last wins; a fetch that fails leaves what is there. */
export class PagedRows<T> {
  readonly rows = signal<T[] | null>(null);
  readonly hasMore = signal(false);
  readonly loading = signal(false);
  readonly error = signal<ApiError | null>(null);
  private cursor: string | null = null;
  private generation = 0;
  private again = false;

  constructor(private readonly fetch: Fetch<T>) {}

  close(): void {
    this.generation++;
  }

  /** Everything that is shown, anew; the first page at least. While that is under way, once more after it. */
  async refresh(): Promise<void> {
    if (this.loading.peek()) {
      this.again = true;
      return;
    }
    const wanted = Math.max(PAGE, this.rows.peek()?.length ?? 0);
    await this.take([], null, wanted);
    if (this.again) {
      this.again = false;
      await this.refresh();
    }
  }

  async grow(): Promise<void> {
    const known = this.rows.peek() ?? [];
    if (!this.loading.peek() && this.hasMore.peek()) await this.take(known, this.cursor, known.length + PAGE);
  }

  private async take(known: T[], cursor: string | null, wanted: number): Promise<void> {
    const generation = this.generation;
    this.loading.value = true;
    try {
      let rows = known;
      let more = true;
      while (more && rows.length < wanted) {
        const found = await this.fetch(cursor, Math.min(MOST, wanted - rows.length));
        rows = [...rows, ...found.rows];
        more = found.page.hasMore;
        cursor = found.page.nextCursor;
      }
      if (generation !== this.generation) return;
      this.cursor = cursor;
      this.hasMore.value = more;
      this.rows.value = rows;
      this.error.value = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (generation === this.generation) this.error.value = error;
    } finally {
      if (generation === this.generation) this.loading.value = false;
    }
  }
}

export class EvalModel {
  /** The eval runs of this run; null until they are known. */
  readonly own = signal<EvalRun[] | null>(null);
  /** Those of the same suite, to compare with. */
  readonly others = signal<EvalRun[]>([]);
  readonly error = signal<ApiError | null>(null);
  private closed = false;

  constructor(private readonly runId: string, private readonly projectId: string) {}

  close(): void {
    this.closed = true;
  }

  async load(): Promise<void> {
    try {
      const own = await evalRuns(this.runId);
      const suites = [...new Set(own.map((run) => run.suiteId))];
      const found = await Promise.all(suites.map((suite) => suiteRuns(this.projectId, suite)));
      if (this.closed) return;
      this.others.value = found.flat();
      this.own.value = own;
      this.error.value = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.error.value = error;
    }
  }
}
