// One file of a version, shown as what it is. Nothing of it runs: it comes as bytes, and is put on the page as text.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import { bytes, count } from "../../format";
import { useLoaded } from "../../parts/loaded";
import { CopyText, Failure } from "../../parts/notice";
import { route, setQuery } from "../../router";
import { beginning, contentAddress } from "./artifacts.api";
import { tableOf } from "./artifacts.csv";
import { JsonTree } from "./artifacts.json";
import type { Entry } from "./artifacts.tree";
import { Grid } from "./tables";

/** Bytes that say whether a file is text, of which the dump of any other is made. */
const HEAD = 65_536;
/** Bytes of a text that are shown. */
const MOST = 1_048_576;
const DUMPED = 1024;
const LONGEST_LINE = 2_000;
const MOST_LINES = 20_000;

type Kind = "image" | "audio" | "video" | "pdf" | "json" | "table" | "other";

const KINDS: [Kind, RegExp][] = [
  ["image", /\.(avif|bmp|gif|jpe?g|png|webp)$/i],
  ["audio", /\.(aac|flac|m4a|mp3|og[ag]|opus|wav)$/i],
  ["video", /\.(mp4|ogv|webm)$/i],
  ["pdf", /\.pdf$/i],
  ["json", /\.(json|geojson|ipynb)$/i],
  ["table", /\.(csv|tsv)$/i],
];

export function kindOf(path: string): Kind {
  return KINDS.find(([, ending]) => ending.test(path))?.[0] ?? "other";
}

interface FileProps {
  artifactId: string;
  entry: Entry;
}

export function FileBody({ artifactId, entry: { path, file } }: FileProps) {
  const source = contentAddress(artifactId, path);
  if (file.uri) return <p class="muted">This file was not stored; it lies at <span class="code">{file.uri}</span></p>;
  switch (kindOf(path)) {
    case "image":
      return <Shown words="picture">{(failed) => <img src={source} alt={path} onError={failed} />}</Shown>;
    case "audio":
      return <Shown words="sound">{(failed) => <audio src={source} controls preload="metadata" aria-label={path} onError={failed} />}</Shown>;
    case "video":
      return <Shown words="video">{(failed) => <video src={source} controls preload="metadata" playsInline aria-label={path} onError={failed} />}</Shown>;
    case "pdf":
      return <p class="muted">A PDF can hold scripts, so it is not opened here. Download it to read it.</p>;
    default:
      return <Bytes artifactId={artifactId} path={path} size={file.sizeBytes ?? 0} />;
  }
}

function Shown({ words, children }: { words: string; children(failed: () => void): ComponentChildren }) {
  const failed = useSignal(false);
  if (failed.value) return <p class="bad">This browser cannot show it as a {words}.</p>;
  return <div class="shown">{children(() => (failed.value = true))}</div>;
}

/** The text of a file, or null when it is none. `whole` says that nothing is left of it. */
export function textOf(content: Uint8Array, whole: boolean): string | null {
  if (content.includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content, { stream: !whole });
  } catch {
    // It is in no encoding that is used for text today.
    return null;
  }
}

/** The beginning of a file; more of it only if it is text. */
async function look(artifactId: string, path: string, size: number): Promise<{ head: Uint8Array; text: string | null }> {
  const head = await beginning(artifactId, path, size, HEAD);
  const text = textOf(head, size <= HEAD);
  if (text === null || size <= HEAD) return { head, text };
  return { head, text: textOf(await beginning(artifactId, path, size, MOST), size <= MOST) };
}

function Bytes({ artifactId, path, size }: { artifactId: string; path: string; size: number }) {
  const { value, error, load } = useLoaded(() => look(artifactId, path, size), [artifactId, path]);
  if (error) return <Failure error={error} retry={load} />;
  if (!value) return <p class="muted">Loading …</p>;
  if (!size) return <p class="muted">The file is empty.</p>;
  return value.text === null ? <Dump head={value.head} size={size} /> : <Text path={path} text={value.text} whole={size <= MOST} />;
}

function Text({ path, text, whole }: { path: string; text: string; whole: boolean }) {
  const kind = kindOf(path);
  const plainly = route.value.query.get("plain") === "1";
  const parsed = useMemo(() => (kind === "json" && whole ? parse(text) : undefined), [text]);
  const table = useMemo(() => (kind === "table" ? tableOf(text, /\.tsv$/i.test(path) ? "\t" : ",", whole) : null), [text]);
  const structured = parsed !== undefined || table !== null;
  const filter = route.value.query.get("rows") ?? "";
  return (
    <>
      <p class="file-line">
        {!whole && <span class="cut">the first MiB</span>}
        {structured && <button aria-pressed={plainly} onClick={() => setQuery({ plain: plainly ? null : "1" })}>as text</button>}
        {table && !plainly && (
          <input
            type="search" placeholder="filter rows" aria-label="Filter rows" value={filter}
            onInput={(event) => setQuery({ rows: event.currentTarget.value, page: null })}
          />
        )}
        {kind === "json" && whole && !structured && <span class="cut">This is no JSON.</span>}
        <CopyText text={text} words={whole ? "file" : "first MiB"} />
      </p>
      {plainly || !structured ? <Lines text={text} /> : table ? <Grid file={table} filter={filter} /> : <JsonTree value={parsed} />}
    </>
  );
}

/** Undefined when it is no JSON. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // It is then shown as the text that it is, and the line above says so.
    return undefined;
  }
}

function Lines({ text }: { text: string }) {
  const { shown, lines } = useMemo(() => {
    const all = text.replace(/\n$/, "").split("\n");
    const cut = (line: string) => (line.length > LONGEST_LINE ? `${line.slice(0, LONGEST_LINE)} … ${count(line.length - LONGEST_LINE, "character")} more` : line);
    return { shown: all.slice(0, MOST_LINES).map(cut), lines: all.length };
  }, [text]);
  return (
    <>
      <div class="source" tabIndex={0} role="group" aria-label="Text">
        <pre class="numbers" aria-hidden="true">{shown.map((_, line) => line + 1).join("\n")}</pre>
        <pre>{shown.join("\n")}</pre>
      </div>
      {lines > shown.length && <p class="muted">{count(lines - shown.length, "line")} more; download the file to read them.</p>}
    </>
  );
}

/** What is no text: its first bytes, as numbers and as letters. */
function Dump({ head, size }: { head: Uint8Array; size: number }) {
  const rows = [];
  for (let at = 0; at < Math.min(head.length, DUMPED); at += 16) {
    const row = [...head.subarray(at, Math.min(at + 16, DUMPED))];
    const numbers = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const letters = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    rows.push(`${at.toString(16).padStart(6, "0")}  ${numbers.padEnd(47)}  ${letters}`);
  }
  return (
    <>
      <p class="file-line muted">No text. {size > DUMPED ? `The first ${bytes(DUMPED)} of ${bytes(size)}:` : "Its bytes:"}</p>
      <pre class="dump" tabIndex={0}>{rows.join("\n")}</pre>
    </>
  );
}
