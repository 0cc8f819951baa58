import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ApiError, type RunDetail } from "../../api";
import { bytes, count, dateTime, flattened, plain } from "../../format";
import { Copyable, Failure } from "../../parts/notice";
import { Ago } from "../../parts/time";
import { route, setQuery } from "../../router";
import { type ArtifactFile, fileAddress, type RunArtifact, type WholeArtifact } from "./artifacts.api";
import { Lineage } from "./artifacts.lineage";
import { ArtifactList, OpenArtifact } from "./artifacts.model";
import "./artifacts.css";
import type { RunModel } from "./model";

const SNIPPET = [
  'run.log_artifact("model.pt", type="model", aliases=["best"])',
  'run.checkpoint("last.ckpt", step=step)',
  'folder = run.use_artifact("model.pt:best").download()',
].join("\n");

/** The tab: what the run made and used, and one version opened. What is chosen is in the address. */
export function Artifacts({ run, model }: { run: RunDetail; model: RunModel }) {
  const open = route.value.query.get("artifact");
  const more = model.more.value.artifacts ?? 0;
  const list = useMemo(() => new ArtifactList(run.runId), [run.runId]);
  useEffect(() => () => list.close(), [list]);
  useEffect(() => list.refresh(), [list, more]);
  const rows = list.rows.value;
  const failure = list.error.value && <Failure error={list.error.value} retry={() => list.refresh()} />;
  if (!rows) return failure || <p class="empty">Loading the artifacts …</p>;
  if (!rows.length) return failure || <Nothing />;
  return (
    <div class={open ? "artifacts opened" : "artifacts"}>
      <section class="artifact-list" aria-label="artifacts">
        {failure}
        <List rows={rows} open={open} />
        {list.hasMore.value && <button class="older" onClick={() => void list.older()}>older artifacts</button>}
      </section>
      {open ? <Opened key={open} artifactId={open} more={more} /> : <p class="empty choose">Choose an artifact to see its files.</p>}
    </div>
  );
}

function Nothing() {
  return (
    <div class="empty">
      <p>This run has made and used no artifacts. This logs and uses some:</p>
      <Copyable text={SNIPPET} block />
    </div>
  );
}

function List({ rows, open }: { rows: RunArtifact[]; open: string | null }) {
  return (
    <div class="scroll-x">
      <table class="rows">
        <thead>
          <tr><th>Name</th><th>Type</th><th>Aliases</th><th /><th class="figure">Step</th><th class="figure">Size</th><th class="figure">Time</th></tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.artifactId + row.role} aria-current={row.artifactId === open ? "true" : undefined}>
              <td class="name" title={row.name}>
                <button onClick={() => setQuery({ artifact: row.artifactId === open ? null : row.artifactId }, true)}>
                  {row.name}<span class="version">:v{row.version}</span>
                </button>
              </td>
              <td>{row.type ?? "–"}</td>
              <td><Aliases names={row.aliases} /></td>
              <td class="muted">{row.role}</td>
              <td class="figure">{row.step?.toLocaleString("en-US") ?? "–"}</td>
              <td class="figure" title={`${row.sizeBytes.toLocaleString("en-US")} bytes`}>{bytes(row.sizeBytes)}</td>
              <td class="figure"><Ago timeMs={row.createdAtMs} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Aliases({ names }: { names: string[] }) {
  return <span class="aliases">{names.map((name) => <span key={name}>{name}</span>)}</span>;
}

function Opened({ artifactId, more }: { artifactId: string; more: number }) {
  const model = useMemo(() => new OpenArtifact(artifactId), []);
  useEffect(() => () => model.close(), []);
  useEffect(() => void model.load(), [more]);
  const found = model.found.value;
  const failure = model.error.value && <Failure error={model.error.value} retry={() => void model.load()} />;
  if (!found) return failure || <p class="empty">Loading the artifact …</p>;
  const metadata = flattened(found.metadata);
  return (
    <section class="artifact" aria-label="artifact">
      {failure}
      <h2>
        {found.name}<span class="version">:v{found.version}</span> <Aliases names={found.aliases} />
        <button class="quiet close" aria-label="Close" onClick={() => setQuery({ artifact: null }, true)}>close</button>
      </h2>
      <p class="muted">
        {found.type && `${found.type}, `}{count(found.fileCount, "file")}, {bytes(found.sizeBytes)}
        {found.step !== null && `, step ${found.step.toLocaleString("en-US")}`}, {dateTime(found.createdAtMs)}
      </p>
      <Copyable text={`run.use_artifact(${JSON.stringify(`${found.name}:v${found.version}`)}).download()`} block />
      <h3>Lineage</h3>
      <Lineage artifact={found} />
      <h3>Files</h3>
      <Files artifact={found} />
      {found.page.hasMore && <button onClick={() => void model.load(true)}>more files</button>}
      {metadata.length > 0 && <h3>Metadata</h3>}
      <dl class="facts">
        {metadata.map(([name, value]) => <><dt key={name}>{name}</dt><dd>{plain(value)}</dd></>)}
      </dl>
      <h3>Identity</h3>
      <dl class="facts">
        <dt>Id</dt><dd><Copyable text={found.artifactId} /></dd>
        <dt>Manifest</dt><dd><Copyable text={found.sha256} /></dd>
      </dl>
    </section>
  );
}

function Files({ artifact }: { artifact: WholeArtifact }) {
  const error = useSignal<ApiError | null>(null);
  const failed = useSignal<string | null>(null);
  const save = async (path: string) => {
    failed.value = path;
    try {
      location.assign(await fileAddress(artifact.artifactId, path));
      error.value = null;
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      error.value = problem;
    }
  };
  return (
    <>
      {error.value && <Failure error={error.value} retry={() => void save(failed.value!)} />}
      <table class="rows files">
        <tbody>{artifact.files.map((file) => <File key={file.path} file={file} save={save} />)}</tbody>
      </table>
    </>
  );
}

function File({ file, save }: { file: ArtifactFile; save: (path: string) => void }) {
  return (
    <tr title={file.sha256 ? `SHA-256 ${file.sha256}` : undefined}>
      <td class="code name">{file.path}{file.uri && <span class="muted"> → {file.uri}</span>}</td>
      <td class="figure">{file.sizeBytes === null ? "–" : bytes(file.sizeBytes)}</td>
      <td>{file.uri ? <span class="muted">elsewhere</span> : <button aria-label={`Download ${file.path}`} onClick={() => save(file.path)}>download</button>}</td>
    </tr>
  );
}
