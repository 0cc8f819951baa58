// Artifacts: the routes of docs/http.md, typed.
import { ApiError, get, type Page, post } from "../../api";

export interface Artifact {
  artifactId: string;
  projectId: string;
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
  etag?: string | null;
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

/** A version with its lineage and `limit` files after `cursor`, by path. */
export function artifact(artifactId: string, cursor: string | null, limit = 500): Promise<WholeArtifact> {
  const query = new URLSearchParams({ limit: String(limit), ...(cursor && { cursor }) });
  return get(`/api/v1/artifacts/${segment(artifactId)}?${query}`);
}

/** The versions of a name, newest first: the last thousand of them. */
export async function versionsOf(projectId: string, name: string): Promise<Artifact[]> {
  const query = new URLSearchParams({ name, limit: "1000" });
  return (await get<{ artifacts: Artifact[] }>(`/api/v1/projects/${segment(projectId)}/artifacts?${query}`)).artifacts;
}

/** Where a file is shown from. Only pictures, sound and video have a type there; all else is bytes to be saved. */
export function contentAddress(artifactId: string, path: string): string {
  return `/api/v1/artifacts/${segment(artifactId)}/content?${new URLSearchParams({ path })}`;
}

/** Where all files of a version are saved from, as a tar. */
export function archiveAddress(artifactId: string): string {
  return `/api/v1/artifacts/${segment(artifactId)}/archive`;
}

/** The first `most` bytes of a file that has `size`. */
export async function beginning(artifactId: string, path: string, size: number, most: number): Promise<Uint8Array<ArrayBuffer>> {
  if (!size) return new Uint8Array(0);
  const headers: HeadersInit = size > most ? { range: `bytes=0-${most - 1}` } : {};
  let response: Response;
  try {
    response = await fetch(contentAddress(artifactId, path), { credentials: "same-origin", headers });
  } catch {
    throw new ApiError(0, "The server does not answer.", null);
  }
  if (!response.ok) throw new ApiError(response.status, `The server answered ${response.status}.`, null);
  return new Uint8Array(await response.arrayBuffer());
}

/** An address to save a file from, good for minutes. */
export async function fileAddress(artifactId: string, path: string): Promise<string> {
  return (await (await post("/api/v1/artifacts/download", { artifactId, path })).json()).url;
}
