// The public HTTP interface (docs/http.md), typed. The page uses nothing else.
import { signal } from "@preact/signals";
import { type Columns, decodeColumns } from "./chart/columns";

export type Status = "running" | "completed" | "failed" | "aborted" | "crashed";

export interface Run {
  runId: string;
  runName: string;
  kind: string;
  status: Status;
  reason: string | null;
  projectId: string;
  projectSlug: string;
  workspaceSlug: string;
  group: string | null;
  jobType: string | null;
  tags: string[];
  notes: string | null;
  path: string;
  alias: string | null;
  primaryMetric: PrimaryMetric | null;
  config: Record<string, unknown>;
  summary: Record<string, unknown>;
  lastStep: number | null;
  points: number;
  startedAtMs: number;
  updatedAtMs: number;
  finishedAtMs: number | null;
  archivedAtMs: number | null;
}

/** The metric that stands for a run, and its best value so far. */
export interface PrimaryMetric {
  name: string;
  mode: "max" | "min";
  value: number | null;
  step: number | null;
}

export interface Attempt {
  stream: string;
  host: string;
  pid: number;
  rank: number;
  client: string;
  system: Record<string, unknown>;
  startedAtMs: number;
  lastSeenMs: number;
  endedAtMs: number | null;
  status: Status;
  received: number;
  duplicate: number;
  rejected: Record<string, number>;
  dropped: Record<string, number>;
  logged: number | null;
  /** The client's own account, which it gives at its end. */
  ledger: { logged: number; dropped: Record<string, number> } | null;
}

export interface RunDetail extends Run {
  attempts: Attempt[];
  environment: Record<string, unknown>;
  traceback: string | null;
  nonFinite: Record<string, number>;
}

export interface Workspace {
  workspaceId: string;
  workspaceSlug: string;
  name: string;
}

export interface Project {
  projectId: string;
  projectSlug: string;
  name: string;
  runCount: number;
  runningCount: number;
  updatedAtMs: number | null;
}

export interface MetricKey {
  metricKey: string;
  count: number;
  kind: "number" | "text";
}

export interface Marker {
  timeMs: number;
  kind: string;
  name: string;
  step: number | null;
  attrs: Record<string, unknown>;
}

/** What charts are drawn over: `metric:` and the key of any metric, too. */
export type XAxis = "step" | "relative" | "wall" | `metric:${string}`;

export interface BucketQuery {
  runIds: string[];
  metricKeys: string[];
  x: XAxis;
  /** Buckets of equal width in the logarithm of x. */
  logX: boolean;
  buckets: number;
  from: number | null;
  to: number | null;
}

/** What the server said no to, or status 0 when no answer came. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly hint: string | null,
  ) {
    super(message);
  }
}

/** True once any answer was a 401: the page then says so instead of showing half of its data. */
export const signedOut = signal(false);

async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer.", "Is it still running? `rundial ui` starts it again.");
  }
  if (response.ok) return response;
  if (response.status === 401) signedOut.value = true;
  throw await refusal(response);
}

async function refusal(response: Response): Promise<ApiError> {
  try {
    const { error } = await response.json();
    return new ApiError(response.status, String(error.message), error.details?.hint ?? null);
  } catch {
    // A proxy in between answers with pages of its own, which are no JSON.
    return new ApiError(response.status, `The server answered ${response.status} ${response.statusText}.`, null);
  }
}

export async function get<T>(path: string): Promise<T> {
  return (await request(path)).json();
}

export function post(path: string, body: unknown, init: RequestInit = {}): Promise<Response> {
  const headers = { "content-type": "application/json", ...(init.headers as Record<string, string> | undefined) };
  return request(path, { method: "POST", ...init, headers, body: JSON.stringify(body) });
}

export interface Page {
  hasMore: boolean;
  nextCursor: string | null;
}

const segment = encodeURIComponent;

export async function redeemLink(token: string): Promise<void> {
  await post("/api/v1/auth/login/link", { token });
}

export async function whoami(): Promise<void> {
  await request("/api/v1/auth/whoami");
}

export async function workspaces(): Promise<Workspace[]> {
  return (await get<{ workspaces: Workspace[] }>("/api/v1/workspaces?limit=1000")).workspaces;
}

export async function projects(workspace: string): Promise<Project[]> {
  return (await get<{ projects: Project[] }>(`/api/v1/workspaces/${segment(workspace)}/projects?limit=1000`)).projects;
}

/** Newest first, archived ones too. */
export function runs(workspace: string, project: string, cursor: string | null): Promise<{ runs: Run[]; page: Page }> {
  const query = new URLSearchParams({ limit: "1000", order: "desc", orderBy: "startedAtMs", archived: "any" });
  if (cursor) query.set("cursor", cursor);
  return get(`/api/v1/workspaces/${segment(workspace)}/projects/${segment(project)}/runs/query?${query}`);
}

export function run(runId: string): Promise<RunDetail> {
  return get(`/api/v1/runs/${segment(runId)}`);
}

export async function markers(runId: string): Promise<Marker[]> {
  return (await get<{ markers: Marker[] }>(`/api/v1/runs/${segment(runId)}/markers`)).markers;
}

/** The newest markers of each of at most 200 runs, oldest first. */
export async function markersOf(runIds: string[]): Promise<Record<string, Marker[]>> {
  return (await (await post("/api/v1/query/markers", { runIds })).json()).markers;
}

/** Every value of a metric in a run: the newest of each step, by step. */
export async function series(runId: string, metricKey: string): Promise<{ step: number; timestampMs: number; value: unknown }[]> {
  return (await (await post("/api/v1/query/series", { runId, metricKeys: [metricKey] })).json()).series[0].points;
}

export async function metricKeys(scope: { runId: string } | { projectId: string }): Promise<MetricKey[]> {
  const query = new URLSearchParams({ ...scope, limit: "1000" });
  return (await get<{ keys: MetricKey[] }>(`/api/v1/metrics/keys?${query}`)).keys;
}

export async function buckets(query: BucketQuery, abort: AbortSignal): Promise<Columns[]> {
  const headers = { accept: "application/vnd.rundial.columns" };
  const over = query.x.startsWith("metric:") ? { x: "metric", xMetric: query.x.slice("metric:".length) } : {};
  const response = await post("/api/v1/query/buckets", { ...query, ...over }, { headers, signal: abort });
  return decodeColumns(await response.arrayBuffer());
}
