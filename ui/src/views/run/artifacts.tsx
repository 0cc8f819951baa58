import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { bytes, count, dateTime, flattened, plain } from "../../format";
import { Copyable, Failure } from "../../parts/notice";
import { Ago } from "../../parts/time";
import { route, setQuery } from "../../router";
import type { RunArtifact } from "./artifacts.api";
import { Files } from "./artifacts.files";
import { Lineage } from "./artifacts.lineage";
import { ArtifactList, OpenArtifact } from "./artifacts.model";
import "./artifacts.css";
import type { RunModel } from "./model";

const SNIPPET = [
  'run.log_artifact("model.pt", type="model", aliases=["best"])',
  'run.checkpoint("last.ckpt", step=step)',
  'folder = run.use_artifact("model.pt:best").download()',
].join("\n");

/** Of another version, other files are looked at. */
const SHUT = { against: null, content: null, find: null, plain: null, rows: null, order: null, page: null };

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
                <button aria-label={`${row.name}:v${row.version}`} onClick={() => setQuery({ ...SHUT, artifact: row.artifactId === open ? null : row.artifactId }, true)}>
                  <span>{row.name}</span><span class="version">:v{row.version}</span>
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
        <button class="quiet close" aria-label="Close" onClick={() => setQuery({ ...SHUT, artifact: null }, true)}>close</button>
      </h2>
      <p class="muted">
        {found.type && `${found.type}, `}{count(found.fileCount, "file")}, {bytes(found.sizeBytes)}
        {found.step !== null && `, step ${found.step.toLocaleString("en-US")}`}, {dateTime(found.createdAtMs)}
      </p>
      <Copyable text={`run.use_artifact(${JSON.stringify(`${found.name}:v${found.version}`)}).download()`} block />
      <h3>Files</h3>
      <Files artifact={found} />
      <h3>Lineage</h3>
      <Lineage artifact={found} />
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
