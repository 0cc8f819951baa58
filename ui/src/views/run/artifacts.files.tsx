import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { ApiError } from "../../api";
import { bytes, count } from "../../format";
import { Failure } from "../../parts/notice";
import { route, setQuery } from "../../router";
import { type Artifact, archiveAddress, fileAddress, versionsOf, type WholeArtifact } from "./artifacts.api";
import { FileChanges } from "./artifacts.changes";
import { FileBody } from "./artifacts.file";
import { OpenArtifact } from "./artifacts.model";
import { changes, type Entry, foldersOf, rowsOf, type TreeOrder, type TreeRow, treeOf } from "./artifacts.tree";
import { useLoaded } from "../../parts/loaded";

const ROW = 22;
const OVERSCAN = 10;
/** What else belongs to the file that is shown, in the address. */
const READING = { plain: null, rows: null, order: null, page: null };

/** Saves a file as it is; what failed is in `error`. */
function useSaving() {
  const error = useSignal<ApiError | null>(null);
  const last = useRef<[string, string]>(["", ""]);
  const save = async (artifactId: string, path: string) => {
    last.current = [artifactId, path];
    try {
      location.assign(await fileAddress(artifactId, path));
      error.value = null;
    } catch (problem) {
      if (!(problem instanceof ApiError)) throw problem;
      error.value = problem;
    }
  };
  const failure = error.value && <Failure error={error.value} retry={() => void save(...last.current)} />;
  return { save: (artifactId: string, path: string) => void save(artifactId, path), failure };
}

/** The files of a version: a tree beside the one that is shown; or only what is different in another version. */
export function Files({ artifact }: { artifact: WholeArtifact }) {
  const { query } = route.value;
  const { save, failure } = useSaving();
  const versions = useLoaded(() => versionsOf(artifact.projectId, artifact.name), [artifact.name, artifact.projectId, artifact.aliases.join()]);
  const others = versions.value?.filter(({ artifactId }) => artifactId !== artifact.artifactId) ?? [];
  const against = query.get("against");
  const before = useBefore(against);
  const old = before?.found.value ?? null;
  const whole = !artifact.page.hasMore && (!against || (old !== null && !old.page.hasMore));
  const entries = useMemo(
    () => (against ? (old && whole ? changes(old.files, artifact.files) : null) : artifact.files.map((file): Entry => ({ path: file.path, file }))),
    [artifact.files, old, against, whole],
  );
  const wanted = (query.get("find") ?? "").toLowerCase();
  const found = useMemo(() => (wanted ? entries?.filter(({ path }) => path.toLowerCase().includes(wanted)) ?? null : entries), [entries, wanted]);
  const order: TreeOrder = query.get("file-order") === "size" ? "size" : "name";
  const chosen = query.get("content");
  const entry = useMemo(() => entries?.find(({ path }) => path === chosen), [entries, chosen]);
  const elsewhere = artifact.files.filter(({ uri }) => uri).length;
  return (
    <>
      <div class="files-line">
        <input
          type="search" placeholder="find a file  /" aria-label="Find a file" data-filter value={query.get("find") ?? ""}
          onInput={(event) => setQuery({ find: event.currentTarget.value })}
        />
        <span class="muted" aria-live="polite">{wordsOf(artifact, against, entries, found, wanted)}</span>
        <label>
          order
          <select value={order} onChange={(event) => setQuery({ "file-order": event.currentTarget.value === "size" ? "size" : null })}>
            <option value="name">name</option>
            <option value="size">size</option>
          </select>
        </label>
        {(others.length > 0 || against) && (
          <label>
            compare with
            <select aria-label="Compare with version" value={against ?? ""} onChange={(event) => setQuery({ against: event.currentTarget.value || null, ...READING }, true)}>
              <option value="">no version</option>
              {others.map((one) => <option key={one.artifactId} value={one.artifactId}>{versionWords(one)}</option>)}
              {against && !others.some(({ artifactId }) => artifactId === against) && <option value={against}>another version</option>}
            </select>
          </label>
        )}
        <a class="act" href={archiveAddress(artifact.artifactId)} download title={elsewhere ? `One tar; ${count(elsewhere, "file")} that lie elsewhere are not in it` : "All files in one tar"}>
          download all
        </a>
      </div>
      {failure}
      {before?.error.value && <Failure error={before.error.value} retry={() => void before.load()} />}
      {versions.error && <Failure error={versions.error} retry={versions.load} />}
      <div class={chosen ? "files reading" : "files"}>
        {found && !found.length && whole && !against && <p class="muted">{wanted ? "No file has that in its name." : "It has no files."}</p>}
        {found ? <Tree key={`${against}`} entries={found} order={order} all={wanted !== ""} chosen={chosen} artifactId={artifact.artifactId} save={save} /> : <p class="muted">Loading the other version …</p>}
        {chosen && (
          <section class="file" aria-label="file">
            <h4>
              <span class="code" title={entry?.file.sha256 ? `SHA-256 ${entry.file.sha256}` : undefined}>{chosen}</span>
              {entry?.change && <span class={entry.change}>{entry.change}</span>}
              {entry?.file.sizeBytes != null && <span class="muted">{bytes(entry.file.sizeBytes)}</span>}
              {entry && !entry.file.uri && <button aria-label="Download this file" onClick={() => save(entry.change === "removed" ? against! : artifact.artifactId, chosen)}>download</button>}
              <button class="quiet close" aria-label="Close the file" onClick={() => setQuery({ content: null, ...READING }, true)}>close</button>
            </h4>
            {entry ? (
              old && against ? <FileChanges key={chosen} before={old} now={artifact} entry={entry} /> : <FileBody key={chosen} artifactId={artifact.artifactId} entry={entry} />
            ) : <p class="muted">{entries && whole ? (against ? "It is the same in both versions." : "There is no such file in this version.") : "Loading …"}</p>}
          </section>
        )}
      </div>
    </>
  );
}

function useBefore(artifactId: string | null): OpenArtifact | null {
  const model = useMemo(() => artifactId && new OpenArtifact(artifactId), [artifactId]);
  useEffect(() => {
    if (!model) return;
    void model.load();
    return () => model.close();
  }, [model]);
  return model || null;
}

function versionWords({ version, aliases }: Artifact): string {
  return `v${version}${aliases.length ? ` · ${aliases.join(", ")}` : ""}`;
}

function wordsOf(artifact: WholeArtifact, against: string | null, entries: readonly Entry[] | null, found: readonly Entry[] | null, wanted: string): string {
  if (!entries || !found) return "";
  if (against) {
    const of = (change: Entry["change"]) => entries.filter((entry) => entry.change === change).length;
    const parts = (["added", "removed", "changed"] as const).map((change) => [of(change), change] as const).filter(([amount]) => amount);
    return parts.map(([amount, change]) => `${amount.toLocaleString("en-US")} ${change}`).join(", ") || "nothing is different";
  }
  if (wanted) return `${found.length.toLocaleString("en-US")} of ${count(entries.length, "file")}`;
  return artifact.page.hasMore ? `${entries.length.toLocaleString("en-US")} of ${count(artifact.fileCount, "file")} so far` : count(entries.length, "file");
}

interface TreeProps {
  entries: readonly Entry[];
  order: TreeOrder;
  /** Whether every folder is open: one looks for something. */
  all: boolean;
  chosen: string | null;
  artifactId: string;
  save(artifactId: string, path: string): void;
}

/** Only the rows that are seen exist. */
function Tree({ entries, order, all, chosen, artifactId, save }: TreeProps) {
  const box = useRef<HTMLDivElement>(null);
  const turned = useSignal<ReadonlySet<string>>(new Set());
  const seen = useSignal({ top: 0, height: 440 });
  const active = useSignal<string | null>(chosen);
  const root = useMemo(() => treeOf(entries), [entries]);
  const rows = useMemo(() => rowsOf(root, turned.value, order, all), [root, turned.value, order, all]);
  const at = rows.findIndex(({ path }) => path === active.value);
  const look = () => {
    const { scrollTop, clientHeight } = box.current!;
    if (scrollTop !== seen.value.top || clientHeight !== seen.value.height) seen.value = { top: scrollTop, height: clientHeight };
  };
  useLayoutEffect(() => {
    const watch = new ResizeObserver(look);
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  // What the address names is unfolded and in sight.
  useLayoutEffect(() => {
    if (!chosen || all || rows.some(({ path }) => path === chosen)) return;
    const closed = new Set(rows.filter(({ open }) => open === false).map(({ path }) => path));
    const next = new Set(turned.value);
    const folders = foldersOf(chosen);
    const first = folders.findIndex((path) => closed.has(path));
    if (first < 0) return;
    for (const path of folders.slice(first)) if (!next.delete(path)) next.add(path);
    turned.value = next;
    active.value = chosen;
  }, [chosen, root]);
  useLayoutEffect(() => {
    const { current } = box;
    if (at < 0 || !current) return;
    if (at * ROW < current.scrollTop) current.scrollTop = at * ROW;
    else if ((at + 1) * ROW > current.scrollTop + current.clientHeight) current.scrollTop = (at + 1) * ROW - current.clientHeight;
  }, [at]);
  const turn = (path: string) => {
    const next = new Set(turned.value);
    if (!next.delete(path)) next.add(path);
    turned.value = next;
  };
  const act = (row: TreeRow) => {
    active.value = row.path;
    if (row.entry) setQuery({ content: row.path === chosen ? null : row.path, ...READING }, true);
    else if (!all) turn(row.path);
  };
  const onKey = (event: KeyboardEvent) => {
    const row = rows[at];
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move) active.value = rows[Math.max(0, Math.min(rows.length - 1, at + move))]?.path ?? null;
    else if (event.key === "Home" || event.key === "End") active.value = rows.at(event.key === "Home" ? 0 : -1)?.path ?? null;
    else if (row && event.key === "Enter") act(row);
    else if (row?.files !== undefined && !all && (event.key === "ArrowRight" ? !row.open : event.key === "ArrowLeft" && row.open)) turn(row.path);
    else if (row && event.key === "ArrowLeft") active.value = foldersOf(row.path).at(-1) ?? row.path;
    else return;
    event.preventDefault();
  };
  const first = Math.max(0, Math.floor(seen.value.top / ROW) - OVERSCAN);
  const last = Math.ceil((seen.value.top + seen.value.height) / ROW) + OVERSCAN;
  return (
    <div class={rows.length ? "tree" : "tree nothing"} role="tree" aria-label="files" tabIndex={0} ref={box} onScroll={look} onKeyDown={onKey} aria-activedescendant={at >= first && at < last ? `file-${at}` : undefined}>
      <div style={{ height: `${rows.length * ROW}px`, position: "relative" }}>
        {rows.slice(first, last).map((row, place) => (
          <Row key={row.path} row={row} place={first + place} chosen={row.path === chosen} active={first + place === at} act={() => act(row)} save={() => save(artifactId, row.path)} />
        ))}
      </div>
    </div>
  );
}

const MARKS = { added: "+", removed: "−", changed: "~" };

interface RowProps {
  row: TreeRow;
  place: number;
  chosen: boolean;
  active: boolean;
  act(): void;
  save(): void;
}

function Row({ row, place, chosen, active, act, save }: RowProps) {
  const { entry, path, name, depth, files, open, size } = row;
  const change = entry?.change;
  return (
    <div
      id={`file-${place}`} class={`tree-row ${active ? "active" : ""}`} role="treeitem" aria-level={depth + 1} aria-selected={chosen} aria-expanded={open}
      style={{ top: `${place * ROW}px`, paddingLeft: `${8 + Math.min(depth, 16) * 14}px` }} title={entry?.file.uri ? `${path} → ${entry.file.uri}` : path} onClick={act}
    >
      <i aria-hidden="true" class={change}>{change ? MARKS[change] : entry ? "" : open ? "▾" : "▸"}</i>
      <span class={`name ${change ?? ""}`}>{name}{!entry && "/"}{change && <span class="hidden-text"> {change}</span>}{entry?.file.uri && <span class="muted"> → {entry.file.uri}</span>}</span>
      {files !== undefined && <span class="muted">{files.toLocaleString("en-US")}</span>}
      {entry && !entry.file.uri && change !== "removed" && (
        <button
          tabIndex={-1} aria-label={`Download ${path}`} onClick={(event) => {
            event.stopPropagation();
            save();
          }}
        >download</button>
      )}
      <span class="size">{entry?.file.uri && entry.file.sizeBytes === null ? "elsewhere" : bytes(size)}</span>
    </div>
  );
}
