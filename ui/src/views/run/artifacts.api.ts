// Artifacts: the routes of docs/http.md, typed.
import { get, type Page, post } from "../../api";

export interface Artifact {
  artifactId: string;
  projectSlug: string;
  runId: string;
  name: string;
  version: number;
  type: string | null;
  aliases: string[];
  metadata: Record<string, unknown>;
  fileCount: number;
  sizeBytes: number;
  sha256: string;
  step: number | null;
  createdAtMs: number;
}

/** An artifact and what the run had to do with it. */
export interface RunArtifact extends Artifact {
  role: "made" | "used";
}

export interface ArtifactFile {
  path: string;
  sizeBytes: number | null;
  sha256: string | null;
  contentType: string | null;
  /** Where a file lies that is only pointed to. */
  uri?: string;
}

export interface LineageRun {
  runId: string;
  runName: string;
  status: string;
}

export interface WholeArtifact extends Artifact {
  files: ArtifactFile[];
  page: Page;
  madeBy: LineageRun[];
  usedBy: LineageRun[];
}

const segment = encodeURIComponent;

/** What the run made and used, newest first. */
export function runArtifacts(runId: string, cursor: string | null): Promise<{ artifacts: RunArtifact[]; page: Page }> {
  const query = new URLSearchParams({ limit: "200", ...(cursor && { cursor }) });
  return get(`/api/v1/runs/${segment(runId)}/artifacts?${query}`);
}

/** A version with its lineage and the files after `cursor`, by path. */
export function artifact(artifactId: string, cursor: string | null): Promise<WholeArtifact> {
  const query = new URLSearchParams({ limit: "500", ...(cursor && { cursor }) });
  return get(`/api/v1/artifacts/${segment(artifactId)}?${query}`);
}

/** An address to save a file from, good for minutes. */
export async function fileAddress(artifactId: string, path: string): Promise<string> {
  return (await (await post("/api/v1/artifacts/download", { artifactId, path })).json()).url;
}
