// The routes of dials and commands (docs/http.md), typed.
import { get, type Page, post } from "../../api";

export type Value = number | boolean | string | null;
export type Kind = "float" | "int" | "bool" | "choice" | "text" | "action";
export type Outcome = "pending" | "delivered" | "applied" | "rejected" | "failed" | "expired" | "superseded";

export interface Dial {
  name: string;
  kind: Kind;
  min: number | null;
  max: number | null;
  step: number | null;
  choices: (string | number)[] | null;
  unit: string | null;
  description: string | null;
  value: Value;
  /** Who may turn it: whoever is an owner, or everybody who may turn dials. */
  role?: "owner" | "member";
  /** The caller is one of them. */
  mayTurn: boolean;
  updatedAtMs: number;
}

export interface Command {
  commandId: string;
  place: number;
  name: string;
  value: Value;
  author: string;
  reason: string | null;
  status: Outcome;
  createdAtMs: number;
  deadlineAtMs: number;
  deliveredAtMs: number | null;
  finishedAtMs: number | null;
  former: Value;
  error: string | null;
  ranks: Record<string, string> | null;
}

export interface Dials {
  dials: Dial[];
  /** The project lets dials be turned. */
  enabled: boolean;
  /** The caller may turn them. */
  mayTurn: boolean;
}

const of = (runId: string) => `/api/v1/runs/${encodeURIComponent(runId)}`;

export function dials(runId: string): Promise<Dials> {
  return get(`${of(runId)}/dials`);
}

/** Newest first. */
export function commands(runId: string, cursor: string | null): Promise<{ commands: Command[]; page: Page }> {
  const query = new URLSearchParams({ limit: "100" });
  if (cursor) query.set("cursor", cursor);
  return get(`${of(runId)}/commands?${query}`);
}

export async function turn(runId: string, name: string, value: Value, reason: string): Promise<Command> {
  return (await post(`${of(runId)}/commands`, { name, value, reason: reason || null })).json();
}
