// The routes that change runs (docs/http.md), typed.
import { post, type Run } from "../../api";

export interface RunEdit {
  name?: string;
  tags?: string[];
  notes?: string;
}

export async function editRun(runId: string, edit: RunEdit): Promise<Run> {
  return (await post(`/api/v1/runs/${encodeURIComponent(runId)}`, edit, { method: "PATCH" })).json();
}

export interface RunsEdit {
  addTags?: string[];
  removeTags?: string[];
  archived?: boolean;
}

/** Runs in one request at most. */
const MOST = 1000;

async function inParts(runIds: string[], send: (runIds: string[]) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < runIds.length; from += MOST) await send(runIds.slice(from, from + MOST));
}

export function editRuns(runIds: string[], edit: RunsEdit): Promise<void> {
  return inParts(runIds, (part) => post("/api/v1/runs/edit", { runIds: part, ...edit }));
}

/** They can be restored for a week. */
export function deleteRuns(runIds: string[]): Promise<void> {
  return inParts(runIds, (part) => post("/api/v1/runs/delete", { runIds: part }));
}

export function restoreRuns(runIds: string[]): Promise<void> {
  return inParts(runIds, (part) => post("/api/v1/runs/restore", { runIds: part }));
}
