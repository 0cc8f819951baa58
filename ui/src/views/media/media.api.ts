// The route of media over many runs (docs/http.md), typed.
import { post } from "../../api";
import type { MediaItem, MediaKey } from "../run/media.api";

export interface RunsKey extends MediaKey {
  /** How many of the runs have it. */
  runs: number;
}

/** What a run has of a key at one of its steps. */
export interface RunMedia {
  step: number;
  count: number;
  /** The first of them. */
  items: MediaItem[];
}

export interface MediaAtStep {
  steps: number[];
  runs: Record<string, RunMedia>;
}

export async function keysOf(runIds: readonly string[]): Promise<RunsKey[]> {
  return (await (await post("/api/v1/query/media", { runIds })).json()).keys;
}

/** Of each run its newest up to `step`, or else its first; null stands for the newest of all. */
export async function mediaAt(runIds: readonly string[], key: string, step: number | null, limit: number): Promise<MediaAtStep> {
  return (await post("/api/v1/query/media", { runIds, key, step, limit })).json();
}
