// The routes of log lines (docs/http.md), typed.
import { post } from "../../api";

export const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"] as const;
export type Level = (typeof LEVELS)[number];

export interface LogRow {
  timestampMs: number;
  /** The line's number in its run, from 1 on. */
  sequence: number;
  level: Level;
  message: string;
  source: string;
  truncated: boolean;
}

export interface LogPage {
  rows: LogRow[];
  /** `tailCursor` goes on, in ascending order, behind the last line there was. */
  page: { hasMore: boolean; nextCursor: string | null; tailCursor: string };
}

export interface LogQuery {
  runId: string;
  minLevel: Level;
  text: string | null;
  order: "asc" | "desc";
  cursor: string | null;
  limit: number;
}

export async function logs(query: LogQuery, abort: AbortSignal): Promise<LogPage> {
  return (await post("/api/v1/query/logs", query, { signal: abort })).json();
}
