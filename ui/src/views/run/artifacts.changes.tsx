// A file as it was in one version and is in another.
import { useMemo } from "preact/hooks";
import { bytes } from "../../format";
import { useLoaded } from "../../parts/loaded";
import { Failure } from "../../parts/notice";
import { Lines } from "../compare/code";
import type { Artifact, ArtifactFile } from "./artifacts.api";
import { beginning } from "./artifacts.api";
import { FileBody, kindOf, textOf } from "./artifacts.file";
import type { Entry } from "./artifacts.tree";

/** Bytes; longer files are not compared line by line. */
const LONGEST = 1_048_576;

interface ChangesProps {
  /** The version that the other is compared with. */
  before: Artifact;
  now: Artifact;
  entry: Entry;
}

export function FileChanges({ before, now, entry }: ChangesProps) {
  const { path, file, change, before: was } = entry;
  if (change === "removed") return <FileBody artifactId={before.artifactId} entry={entry} />;
  if (!was) return <FileBody artifactId={now.artifactId} entry={entry} />;
  const stored = !file.uri && !was.uri;
  const short = Math.max(file.sizeBytes ?? 0, was.sizeBytes ?? 0) <= LONGEST;
  if (stored && short && ["other", "json", "table"].includes(kindOf(path))) {
    return <Texts before={before.artifactId} now={now.artifactId} path={path} was={was} file={file} />;
  }
  return (
    <div class="both">
      <Side version={before} entry={{ path, file: was }} />
      <Side version={now} entry={{ path, file }} />
    </div>
  );
}

function Side({ version, entry }: { version: Artifact; entry: Entry }) {
  return (
    <section aria-label={`v${version.version}`}>
      <p class="muted">v{version.version}, {entry.file.sizeBytes === null ? "size unknown" : bytes(entry.file.sizeBytes)}</p>
      <FileBody artifactId={version.artifactId} entry={entry} />
    </section>
  );
}

interface TextsProps {
  before: string;
  now: string;
  path: string;
  was: ArtifactFile;
  file: ArtifactFile;
}

function Texts({ before, now, path, was, file }: TextsProps) {
  const sides: [string, ArtifactFile][] = [[before, was], [now, file]];
  const read = () => Promise.all(sides.map(([id, { sizeBytes }]) => beginning(id, path, sizeBytes ?? 0, LONGEST)));
  const { value, error, load } = useLoaded(read, [before, now, path]);
  const texts = useMemo(() => value?.map((content) => textOf(content, true)), [value]);
  if (error) return <Failure error={error} retry={load} />;
  if (!texts) return <p class="muted">Loading …</p>;
  const [old, present] = texts;
  if (old == null || present == null) {
    return <p class="muted">No text. It had {bytes(was.sizeBytes ?? 0)}, and has {bytes(file.sizeBytes ?? 0)}; the SHA-256 is another.</p>;
  }
  return <div class="code-changes"><Lines before={old} after={present} /></div>;
}
