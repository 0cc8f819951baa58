// The code a run took along: an archive of files and a patch, which are artifacts of the type `code`.
import { ApiError } from "../../api";
import { unzip, type ZipEntry } from "../../zip";
import { artifact, fileAddress, runArtifacts } from "./artifacts.api";

export type Files = ReadonlyMap<string, ZipEntry>;

export interface Code {
  /** By path; null when the run took no files along. */
  files: Files | null;
  /** What was not committed, as a unified diff; null without one. */
  patch: string | null;
}

const TYPE = "code";
const ARCHIVE = /\.zip$/;
const PATCH = /\.patch$/;

/** Throws RangeError when the archive is none, besides ApiError. */
export async function codeOf(runId: string): Promise<Code> {
  const code: Code = { files: null, patch: null };
  let cursor: string | null = null;
  do {
    // Newest first: of a run that was resumed, the code it ran last.
    const found: Awaited<ReturnType<typeof runArtifacts>> = await runArtifacts(runId, cursor);
    for (const { artifactId } of found.artifacts.filter(({ type, role }) => type === TYPE && role === "made")) {
      for (const { path } of (await artifact(artifactId, null)).files) {
        if (!code.files && ARCHIVE.test(path)) code.files = filesIn(await (await file(artifactId, path)).arrayBuffer());
        else if (code.patch === null && PATCH.test(path)) code.patch = await (await file(artifactId, path)).text();
      }
    }
    cursor = found.page.nextCursor;
  } while (cursor !== null && !code.files);
  return code;
}

function filesIn(archive: ArrayBuffer): Files {
  return new Map(unzip(archive).filter(({ name }) => !name.endsWith("/")).map((entry) => [entry.name, entry]));
}

async function file(artifactId: string, path: string): Promise<Response> {
  const response = await fetch(await fileAddress(artifactId, path), { credentials: "same-origin" });
  if (!response.ok) throw new ApiError(response.status, `The server answered ${response.status}.`, null);
  return response;
}
