// The lines of a run's log that have been fetched: a piece without holes of those that match, grown at both ends.
import { batch, signal } from "@preact/signals";
import { ApiError } from "../../api";
import { type Level, type LogPage, logs, type LogRow } from "./logs.api";

export interface LogFilter {
  minLevel: Level;
  text: string;
}

const PAGE = 1000;
/** More lines than this are not kept: the browser would feel them. */
const MAX_ROWS = 200_000;
/** A search goes on by itself until it has found this many, or there is no more. */
const ENOUGH = 200;

export class LogModel {
  readonly rows = signal<readonly LogRow[]>([]);
  /** Something is on its way: what is shown may be incomplete. */
  readonly loading = signal(true);
  readonly error = signal<ApiError | null>(null);
  /** Where older and newer lines go on; null when there are none (yet). */
  readonly older = signal<string | null>(null);
  readonly newer = signal<string | null>(null);
  /** Lines are added at the end as they come. */
  follow = true;
  /** How often lines were opened anew, so that what is shown before and after have nothing to do with one another. */
  opened = 0;
  private tail = "1";
  private filter: LogFilter = { minLevel: "trace", text: "" };
  private flight: AbortController | null = null;
  private again = false;

  constructor(private readonly runId: string) {}

  close(): void {
    this.flight?.abort();
  }

  /** Shows the lines that match, from the end or from the beginning of the log. */
  async open(filter: LogFilter, end: "first" | "last"): Promise<void> {
    this.flight?.abort();
    this.flight = null;
    this.filter = filter;
    this.again = false;
    const fresh = await this.fetch(end === "last" ? "desc" : "asc", null);
    if (!fresh) return;
    batch(() => {
      const { rows, page } = fresh;
      this.opened++;
      this.rows.value = end === "last" ? rows.reverse() : rows;
      this.older.value = end === "last" ? page.nextCursor : null;
      this.newer.value = end === "last" ? null : page.nextCursor;
      this.tail = page.nextCursor && end === "first" ? page.nextCursor : page.tailCursor;
    });
    if (end === "last") await this.searchOn();
    if (this.again) await this.grow();
  }

  /** Goes on until the screen is full: a page of a search may be empty and still not be the last. */
  private async searchOn(): Promise<void> {
    while (this.older.value && this.rows.value.length < ENOUGH) {
      if (!(await this.growBack())) return;
    }
  }

  /** Fetches older lines; whether that worked. */
  async growBack(): Promise<boolean> {
    const cursor = this.older.value;
    if (!cursor || this.flight) return false;
    const found = await this.fetch("desc", cursor);
    if (!found) return false;
    batch(() => {
      this.older.value = found.page.nextCursor;
      if (found.rows.length) this.rows.value = [...found.rows.reverse(), ...this.rows.value];
    });
    if (this.again) await this.grow();
    return true;
  }

  /** Fetches what has come at the end since, as far as there is room. */
  async grow(): Promise<void> {
    if (this.flight) {
      this.again = true;
      return;
    }
    do {
      this.again = false;
      if (!this.follow && this.rows.value.length >= MAX_ROWS) return;
      const found = await this.fetch("asc", this.tail);
      if (!found) return;
      const { nextCursor, tailCursor } = found.page;
      this.tail = nextCursor ?? tailCursor;
      batch(() => {
        this.newer.value = nextCursor;
        if (found.rows.length) this.append(found.rows);
      });
    } while (this.again || (this.follow && this.newer.value));
  }

  private append(rows: LogRow[]): void {
    const all = [...this.rows.value, ...rows];
    if (all.length > MAX_ROWS && this.follow) {
      all.splice(0, all.length - MAX_ROWS);
      this.older.value = String(all[0]!.sequence - 1);
    }
    this.rows.value = all;
  }

  private async fetch(order: "asc" | "desc", cursor: string | null): Promise<LogPage | null> {
    const flight = new AbortController();
    this.flight = flight;
    this.loading.value = true;
    const { minLevel, text } = this.filter;
    try {
      const query = { runId: this.runId, minLevel, text: text || null, order, cursor, limit: PAGE };
      const page = await logs(query, flight.signal);
      if (flight.signal.aborted) return null;
      this.error.value = null;
      return page;
    } catch (error) {
      if (flight.signal.aborted) return null;
      if (!(error instanceof ApiError)) throw error;
      this.error.value = error;
      return null;
    } finally {
      if (this.flight === flight) {
        this.flight = null;
        this.loading.value = false;
      }
    }
  }
}
