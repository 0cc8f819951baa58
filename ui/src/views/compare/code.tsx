import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ApiError, type RunDetail } from "../../api";
import { runColor } from "../../colors";
import { count } from "../../format";
import { Failure } from "../../parts/notice";
import { route, setQuery } from "../../router";
import type { ZipEntry } from "../../zip";
import { codeOf, type Files } from "../run/code.api";
import { changedLines } from "./lines";

/** Bytes; a longer file is not compared line by line. */
const LONGEST = 1_000_000;

/** What changed in the code from one run to another. */
export function Code({ runs }: { runs: readonly RunDetail[] }) {
  const { query } = route.value;
  const before = runs.find((run) => run.runId === query.get("from")) ?? runs[0]!;
  const after = runs.find((run) => run.runId === query.get("to")) ?? runs.find((run) => run !== before);
  if (!after) return <p class="empty">It takes two runs to compare their code.</p>;
  return (
    <>
      <div class="controls">
        <RunSelect words="from" name="from" runs={runs} chosen={before} />
        <RunSelect words="to" name="to" runs={runs} chosen={after} />
      </div>
      <Changes key={`${before.runId} ${after.runId}`} before={before} after={after} />
    </>
  );
}

function RunSelect({ words, name, runs, chosen }: { words: string; name: string; runs: readonly RunDetail[]; chosen: RunDetail }) {
  return (
    <label>
      <i class="swatch" style={{ background: runColor(chosen.runId) }} /> {words}
      <select aria-label={words} value={chosen.runId} onChange={(event) => setQuery({ [name]: event.currentTarget.value }, true)}>
        {runs.map((run) => <option key={run.runId} value={run.runId}>{run.runName}</option>)}
      </select>
    </label>
  );
}

function Changes({ before, after }: { before: RunDetail; after: RunDetail }) {
  const files = useSignal<[Files | null, Files | null] | null>(null);
  const error = useSignal<ApiError | null>(null);
  const load = async () => {
    try {
      error.value = null;
      const [old, now] = await Promise.all([codeOf(before.runId), codeOf(after.runId)]);
      files.value = [old.files, now.files];
    } catch (failure) {
      if (!(failure instanceof ApiError || failure instanceof RangeError)) throw failure;
      error.value = failure instanceof ApiError ? failure : new ApiError(0, failure.message, null);
    }
  };
  useEffect(() => void load(), []);
  if (error.value) return <Failure error={error.value} retry={() => void load()} />;
  if (!files.value) return <p class="empty">Loading code …</p>;
  const [old, now] = files.value;
  if (!old || !now) {
    const without = [!old && before.runName, !now && after.runName].filter(Boolean).join(" and ");
    return <p class="empty">{without} took no code along. <code>rd.init(snapshot_code=True)</code> does; commit and command stand under Differences.</p>;
  }
  return <FileList old={old} now={now} />;
}

function FileList({ old, now }: { old: Files; now: Files }) {
  const names = useMemo(() => [...new Set([...old.keys(), ...now.keys()])].sort(), [old, now]);
  const changed = names.filter((name) => old.get(name)?.crc !== now.get(name)?.crc || old.get(name)?.size !== now.get(name)?.size);
  return (
    <div class="code-changes">
      <p class="muted">{changed.length ? `${count(changed.length, "file")} of ${names.length} ${changed.length === 1 ? "is" : "are"} different.` : `The code is the same, ${count(names.length, "file")}.`}</p>
      {changed.map((name) => <FileChange key={name} name={name} old={old.get(name)} now={now.get(name)} />)}
    </div>
  );
}

function FileChange({ name, old, now }: { name: string; old: ZipEntry | undefined; now: ZipEntry | undefined }) {
  const texts = useSignal<[string, string] | null>(null);
  const open = async (event: Event) => {
    const { open } = event.currentTarget as HTMLDetailsElement;
    if (open && !texts.value) texts.value = await Promise.all([old?.text() ?? "", now?.text() ?? ""]);
  };
  const what = !old ? "added" : !now ? "removed" : "changed";
  const long = Math.max(old?.size ?? 0, now?.size ?? 0) > LONGEST;
  return (
    <details onToggle={(event) => !long && void open(event)}>
      <summary><span class="code">{name}</span> <span class={`muted ${what}`}>{what}</span></summary>
      {long ? <p class="muted">Too long to be shown.</p> : texts.value && <Lines before={texts.value[0]} after={texts.value[1]} />}
    </details>
  );
}

/** What changed from one text to another, with signs and colours. */
export function Lines({ before, after }: { before: string; after: string }) {
  const lines = useMemo(() => changedLines(before, after), [before, after]);
  if (before.includes("\0") || after.includes("\0")) return <p class="muted">This is no text.</p>;
  return (
    <pre tabIndex={0}>
      {lines.map(({ sign, text }, place) => (
        <div key={place} class={sign === "+" ? "added" : sign === "-" ? "removed" : sign === "…" ? "muted" : ""}>{sign} {text}</div>
      ))}
    </pre>
  );
}
