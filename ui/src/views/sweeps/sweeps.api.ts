// What the server knows of sweeps (docs/http.md).
import { get, type Page, post } from "../../api";
import type { Place } from "../../project";

export type SweepState = "running" | "paused" | "stopped" | "finished";

export interface SweepRecord {
  sweepId: string;
  name: string;
  method: string;
  /** As its maker wrote it: whatever may stand in there. */
  config: Record<string, unknown>;
  state: SweepState;
  /** Empty when only its runs told of it. */
  author: string;
  turnedBy: string | null;
  createdAtMs: number;
  updatedAtMs: number;
  /** When an agent last asked whether to go on. */
  askedAtMs: number | null;
}

const MOST_PAGES = 10;

function address({ workspace, project }: Place, ...rest: string[]): string {
  return "/api/v1/" + ["workspaces", workspace, "projects", project, "sweeps", ...rest].map(encodeURIComponent).join("/");
}

/** Newest first. */
export async function sweepRecords(place: Place): Promise<SweepRecord[]> {
  const found: SweepRecord[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < MOST_PAGES; page++) {
    const query = new URLSearchParams({ limit: "1000", ...(cursor && { cursor }) });
    const answer: { sweeps: SweepRecord[]; page: Page } = await get(`${address(place)}?${query}`);
    found.push(...answer.sweeps);
    cursor = answer.page.nextCursor;
    if (!cursor) break;
  }
  return found;
}

export async function turnSweep(place: Place, sweepId: string, state: SweepState): Promise<SweepRecord> {
  return (await post(address(place, sweepId, "state"), { state })).json();
}
