// Evaluations: the routes of docs/http.md, typed.
import { get, type Page, post } from "../../api";

export interface Tally {
  count: number;
  mean: number | null;
  passed: number;
  /** Results with a verdict. */
  judged: number;
  passRate: number | null;
}

export interface EvalRun {
  evalRunId: string;
  runId: string;
  runName: string;
  status: string;
  suiteId: string | null;
  suiteName: string | null;
  dataset: { name?: string; version?: string; artifactRef?: string } & Record<string, unknown>;
  scorers: { name: string }[];
  config: Record<string, unknown>;
  startedAtMs: number;
  summary: Record<string, Tally>;
}

export interface Result {
  exampleId: string;
  scorer: string;
  score: number;
  passed: boolean | null;
  timestampMs: number;
  runId: string;
  traceId: string | null;
  evidenceRef: Record<string, string> | null;
  meta: Record<string, unknown>;
}

export const CHANGES = ["regressed", "improved", "added", "removed", "same"] as const;
export type Change = (typeof CHANGES)[number];

export interface Pair {
  exampleId: string;
  scorer: string;
  baselineScore: number | null;
  candidateScore: number | null;
  baselinePassed: boolean | null;
  candidatePassed: boolean | null;
  delta: number | null;
  status: Change;
}

export interface ResultQuery {
  evalRunId: string;
  projectId: string;
  scorer: string | null;
  failedOnly: boolean;
  text: string;
}

export interface DiffQuery {
  projectId: string;
  baselineEvalRunId: string;
  candidateEvalRunId: string;
  scorer: string | null;
  statuses: Change[];
}

export interface Rows<T> {
  rows: T[];
  page: Page;
}

export interface Diff extends Rows<Pair> {
  counts: Record<Change, number>;
}

export async function evalRuns(runId: string): Promise<EvalRun[]> {
  return (await get<{ evalRuns: EvalRun[] }>(`/api/v1/runs/${encodeURIComponent(runId)}/evals`)).evalRuns;
}

/** The newest runs of the suite, this one among them. */
export async function suiteRuns(projectId: string, suiteId: string | null): Promise<EvalRun[]> {
  const path = `/api/v1/projects/${encodeURIComponent(projectId)}/evals?limit=1000&runs=100`;
  const { suites } = await get<{ suites: { suiteId: string | null; runs: EvalRun[] }[] }>(path);
  return suites.find((suite) => suite.suiteId === suiteId)?.runs ?? [];
}

export async function results(query: ResultQuery, cursor: string | null, limit: number): Promise<Rows<Result>> {
  return (await post("/api/v1/query/evals/results", { ...query, cursor, limit })).json();
}

export async function diff(query: DiffQuery, cursor: string | null, limit: number): Promise<Diff> {
  return (await post("/api/v1/query/evals/diff", { ...query, cursor, limit })).json();
}
