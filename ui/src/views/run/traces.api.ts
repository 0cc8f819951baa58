// Traces: the routes of docs/http.md, typed.
import { get, post } from "../../api";

export interface Trace {
  traceId: string;
  rootName: string;
  /** Unix nanoseconds; a number would round them. */
  startNs: string;
  durationNs: string;
  spans: number;
  errors: number;
  tokensIn: number;
  tokensOut: number;
  costUsd: number;
}

export interface SpanEvent {
  name: string;
  timeNs: string;
  attrs: Record<string, unknown>;
}

export interface Span {
  traceId: string;
  spanId: string;
  parentSpanId: string | null;
  name: string;
  kind: string;
  startNs: string;
  endNs: string;
  status: "unset" | "ok" | "error";
  message: string | null;
  attrs: Record<string, unknown>;
  events: SpanEvent[];
  model: string | null;
  system: string | null;
  tokensIn: number | null;
  tokensOut: number | null;
  costUsd: number | null;
}

export interface WholeTrace extends Omit<Trace, "spans"> {
  spanCount: number;
  spans: Span[];
  /** There are more spans than are given out. */
  truncated: boolean;
}

/** What stands in a span for a value that lies in the artifact store, or was to. */
export interface Evidence {
  kind: "rundial.evidence_ref" | "rundial.evidence_marker";
  artifact?: string;
  artifactId?: string;
  path?: string;
  key: string;
  sizeBytes: number;
  contentType: string;
  status?: string;
  preview?: string;
}

export interface TraceQuery {
  limit: number;
  cursor?: string | null;
  text: string;
  status: "ok" | "error" | null;
}

export interface TracePage {
  traces: Trace[];
  page: { hasMore: boolean; nextCursor: string | null };
}

/** Newest first. */
export async function queryTraces(runId: string, query: TraceQuery): Promise<TracePage> {
  return (await post("/api/v1/query/traces", { runId, ...query })).json();
}

export function wholeTrace(runId: string, traceId: string): Promise<WholeTrace> {
  return get(`/api/v1/runs/${encodeURIComponent(runId)}/traces/${encodeURIComponent(traceId)}`);
}

/** Where the file of an evidence can be fetched for a while; null when it has not arrived in the store. */
export async function evidenceUrl(projectId: string, runId: string, evidence: Evidence): Promise<string | null> {
  const artifactId = evidence.artifactId ?? (await artifactIdOf(projectId, evidence.artifact ?? ""));
  if (!artifactId) return null;
  const answer = await post("/api/v1/artifacts/download", { projectId, runId, artifactId, path: evidence.path });
  return (await answer.json()).url;
}

async function artifactIdOf(projectId: string, name: string): Promise<string | undefined> {
  const query = new URLSearchParams({ name, type: "trace_evidence", limit: "1" });
  const found = await get<{ artifacts: { artifactId: string }[] }>(
    `/api/v1/projects/${encodeURIComponent(projectId)}/artifacts?${query}`,
  );
  return found.artifacts[0]?.artifactId;
}
