// What the list of traces knows. New traces wait to be asked for, so that nothing moves under the pointer.
import { signal } from "@preact/signals";
import { ApiError } from "../../api";
import { queryTraces, type Trace, wholeTrace, type WholeTrace } from "./traces.api";

const PAGE = 100;
const MOST = 1000;
/** However fast spans arrive, the page asks for them once in this time. */
const CALM_MS = 1000;
const TYPING_MS = 200;

/** Calls `run` now, or as soon as the last call is `CALM_MS` ago. */
class Calm {
  private timer = 0;
  private last = 0;

  constructor(private readonly run: () => void) {}

  soon(inMs = Math.max(0, this.last + CALM_MS - Date.now())): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      this.last = Date.now();
      this.run();
    }, inMs);
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}

export class TraceList {
  readonly rows = signal<Trace[] | null>(null);
  /** How many newer traces there are than those that are shown. */
  readonly arrived = signal(0);
  readonly hasMore = signal(false);
  readonly error = signal<ApiError | null>(null);
  private newest: Trace[] = [];
  private cursor: string | null = null;
  private text = "";
  private errors = false;
  private asked = 0;
  private begun = false;
  private readonly calm = new Calm(() => void this.fetch(false));
  private readonly typing = new Calm(() => void this.fetch(true));

  constructor(private readonly runId: string) {}

  /** Shows what matches; called again with the same, looks what is new. */
  load(text: string, errors: boolean): void {
    const same = this.begun && text === this.text && errors === this.errors;
    [this.text, this.errors] = [text, errors];
    if (same) this.calm.soon();
    else this.typing.soon(this.begun ? TYPING_MS : 0);
    this.begun = true;
  }

  close(): void {
    this.calm.stop();
    this.typing.stop();
    this.asked++;
  }

  showArrived(): void {
    const known = new Set(this.rows.value?.map((row) => row.traceId));
    this.rows.value = [...this.newest.filter((row) => !known.has(row.traceId)), ...(this.rows.value ?? [])];
    this.arrived.value = 0;
  }

  async older(): Promise<void> {
    const page = await this.ask(PAGE, this.cursor);
    if (!page) return;
    const known = new Set(this.rows.value?.map((row) => row.traceId));
    this.rows.value = [...(this.rows.value ?? []), ...page.traces.filter((row) => !known.has(row.traceId))];
    this.turn(page.page.nextCursor);
  }

  private async fetch(anew: boolean): Promise<void> {
    const rows = anew ? [] : (this.rows.value ?? []);
    const page = await this.ask(Math.min(MOST, Math.max(PAGE, rows.length)), null);
    if (!page) return;
    if (!rows.length) {
      this.rows.value = page.traces;
      this.arrived.value = 0;
      this.turn(page.page.nextCursor);
      return;
    }
    const found = new Map(page.traces.map((row) => [row.traceId, row]));
    this.rows.value = rows.map((row) => found.get(row.traceId) ?? row);
    const known = new Set(rows.map((row) => row.traceId));
    this.newest = page.traces.filter((row) => !known.has(row.traceId) && BigInt(row.startNs) >= BigInt(rows[0]!.startNs));
    this.arrived.value = this.newest.length;
  }

  private turn(cursor: string | null): void {
    this.cursor = cursor;
    this.hasMore.value = cursor !== null;
  }

  /** One page, or null when it failed or is no longer wanted. */
  private async ask(limit: number, cursor: string | null) {
    const number = ++this.asked;
    try {
      const query = { limit, cursor, text: this.text, status: this.errors ? ("error" as const) : null };
      const page = await queryTraces(this.runId, query);
      if (number !== this.asked) return null;
      this.error.value = null;
      return page;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (number === this.asked) this.error.value = error;
      return null;
    }
  }
}

/** One trace, fetched again while there may be more of it. */
export class OpenTrace {
  readonly trace = signal<WholeTrace | null>(null);
  readonly error = signal<ApiError | null>(null);
  private closed = false;
  private readonly calm = new Calm(() => void this.fetch());

  constructor(
    private readonly runId: string,
    private readonly traceId: string,
  ) {}

  load(): void {
    this.calm.soon();
  }

  close(): void {
    this.closed = true;
    this.calm.stop();
  }

  private async fetch(): Promise<void> {
    try {
      const trace = await wholeTrace(this.runId, this.traceId);
      if (this.closed) return;
      this.trace.value = trace;
      this.error.value = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.error.value = error;
    }
  }
}
