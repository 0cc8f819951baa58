import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { ApiError, type RunDetail } from "../../api";
import { bytes, count, plain } from "../../format";
import { Copyable, CopyText, Failure } from "../../parts/notice";
import { route, setQuery } from "../../router";
import type { ZipEntry } from "../../zip";
import { type Code, codeOf } from "./code.api";
import "./code.css";
import { Patch } from "./code.patch";
import type { RunModel } from "./model";
import { Values } from "./values";

/** Bytes; a longer file is saved from the artifacts instead. */
const LONGEST = 2_000_000;
const LONGEST_LIST = 2_000;

/** What there is to read besides files. Paths in the archive do not begin with a slash. */
const PATCH = "/patch";
const ENVIRONMENT = "/environment";

/** The tab: the files a run was started from, what was not committed of them, and the environment. */
export function CodeView({ run, model }: { run: RunDetail; model: RunModel }) {
  const code = useSignal<Code | null>(null);
  const error = useSignal<ApiError | null>(null);
  const more = model.more.value.artifacts ?? 0;
  const load = async () => {
    try {
      // What was read once does not change: later artifacts matter only while there is nothing.
      if (code.value?.files) return;
      code.value = await codeOf(run.runId);
      error.value = null;
    } catch (failure) {
      if (!(failure instanceof ApiError || failure instanceof RangeError)) throw failure;
      error.value = failure instanceof ApiError ? failure : new ApiError(0, failure.message, null);
    }
  };
  useEffect(() => void load(), [run.runId, more]);
  const failure = error.value && <Failure error={error.value} retry={() => void load()} />;
  if (!code.value) return failure || <p class="empty">Loading the code …</p>;
  const hasEnvironment = Object.keys(run.environment).length > 0;
  if (!code.value.files && code.value.patch === null && !hasEnvironment && !run.attempts.some(({ system }) => system.git)) {
    return failure || <Nothing />;
  }
  return <>{failure}<Reading run={run} code={code.value} hasEnvironment={hasEnvironment} /></>;
}

function Nothing() {
  return (
    <div class="empty">
      <p>This run took no code along. This takes the files, what is not committed of them, and the environment:</p>
      <Copyable text={'run = rd.init(project="digits", snapshot_code=True)'} block />
    </div>
  );
}

function Reading({ run, code, hasEnvironment }: { run: RunDetail; code: Code; hasEnvironment: boolean }) {
  const query = route.value.query;
  const wanted = (query.get("find") ?? "").toLowerCase();
  const paths = useMemo(() => [...(code.files?.keys() ?? [])].sort(byFolder), [code]);
  const found = paths.filter((path) => path.toLowerCase().includes(wanted));
  const first = code.patch !== null ? PATCH : paths.find((path) => /\.py$/.test(path)) ?? paths[0] ?? ENVIRONMENT;
  const chosen = query.get("file") ?? first;
  const entry = code.files?.get(chosen);
  return (
    <div class="code-view">
      <nav class="code-list" aria-label="Code">
        <Origin run={run} />
        <ul>
          {code.patch !== null && <Entry path={PATCH} chosen={chosen}>not committed</Entry>}
          {hasEnvironment && <Entry path={ENVIRONMENT} chosen={chosen}>environment</Entry>}
        </ul>
        {code.files ? (
          <>
            <p class="find">
              <input
                type="search" placeholder="find a file  /" aria-label="Find a file" data-filter value={query.get("find") ?? ""}
                onInput={(event) => setQuery({ find: event.currentTarget.value })}
              />
              <span class="muted">{wanted ? `${found.length.toLocaleString("en-US")} of ${count(paths.length, "file")}` : count(paths.length, "file")}</span>
            </p>
            <ul class="code">
              {found.slice(0, LONGEST_LIST).map((path) => <Entry key={path} path={path} chosen={chosen}>{path}</Entry>)}
            </ul>
            {found.length > LONGEST_LIST && <p class="muted">{count(found.length - LONGEST_LIST, "file")} more: find them by a part of the name.</p>}
          </>
        ) : (
          <p class="muted">No files were taken along. <code>snapshot_code=True</code> takes them.</p>
        )}
      </nav>
      <section class="reading-room" aria-label="What is read">
        {chosen === PATCH && code.patch !== null ? <Patch text={code.patch} />
          : chosen === ENVIRONMENT ? <Environment values={run.environment} />
          : entry ? <Source key={chosen} entry={entry} />
          : <p class="empty">There is no <code>{chosen}</code> among the files.</p>}
      </section>
    </div>
  );
}

/** Files before the folders beside them, both by name. */
function byFolder(a: string, b: string): number {
  const [one, other] = [a.split("/"), b.split("/")];
  let depth = 0;
  while (one[depth] === other[depth] && depth < one.length) depth++;
  const leaf = Number(one.length === depth + 1) - Number(other.length === depth + 1);
  return leaf ? -leaf : (one[depth] ?? "").localeCompare(other[depth] ?? "", "en", { numeric: true });
}

function Entry({ path, chosen, children }: { path: string; chosen: string; children: string }) {
  return (
    <li>
      <button aria-current={path === chosen ? "true" : undefined} title={children} onClick={() => setQuery({ file: path }, true)}>{children}</button>
    </li>
  );
}

/** The commit, and how the process was started. */
function Origin({ run }: { run: RunDetail }) {
  const system = run.attempts.at(-1)?.system ?? {};
  const git = { ...(system.git as object | undefined), ...(run.environment.git as object | undefined) } as Record<string, unknown>;
  return (
    <dl class="facts">
      {typeof git.commit === "string" && <><dt>Commit</dt><dd><span class="code" title={git.commit}>{git.commit.slice(0, 10)}</span>{git.dirty === true && " and changes"}</dd></>}
      {typeof git.branch === "string" && <><dt>Branch</dt><dd class="code">{git.branch}</dd></>}
      {typeof git.remote === "string" && <><dt>From</dt><dd class="code">{git.remote}</dd></>}
      {typeof system.command === "string" && <><dt>Command</dt><dd class="code">{system.command}</dd></>}
    </dl>
  );
}

function Source({ entry }: { entry: ZipEntry }) {
  const text = useSignal<string | null>(null);
  const failed = useSignal(false);
  useEffect(() => {
    if (entry.size > LONGEST) return;
    entry.text().then((found) => (text.value = found), () => (failed.value = true));
  }, [entry]);
  const lines = useMemo(() => text.value?.replace(/\n$/, "").split("\n").length ?? 0, [text.value]);
  return (
    <>
      <h2>
        <span class="code">{entry.name}</span>
        <span class="muted">{lines > 0 && `${count(lines, "line")}, `}{bytes(entry.size)}</span>
        {text.value !== null && <CopyText text={text.value} words="file" />}
      </h2>
      {entry.size > LONGEST ? <p class="muted">Too long to be read here; the archive is under Artifacts.</p>
        : failed.value ? <p class="bad">The file cannot be unpacked.</p>
        : text.value === null ? <p class="muted">Unpacking …</p>
        : text.value.includes("\0") ? <p class="muted">This is no text.</p>
        : <div class="source" tabIndex={0}>
            <pre class="numbers" aria-hidden="true">{Array.from({ length: lines }, (_, line) => line + 1).join("\n")}</pre>
            <pre>{text.value}</pre>
          </div>}
    </>
  );
}

function Environment({ values }: { values: Record<string, unknown> }) {
  const { packages, ...rest } = values;
  return (
    <>
      <Values title="Environment" values={rest} words={plain} />
      {typeof packages === "object" && packages !== null && <Values title={`Packages · ${Object.keys(packages).length}`} values={packages as Record<string, unknown>} words={plain} />}
    </>
  );
}
