// The files of a version as folders that fold, and what is different in another version.
import type { ArtifactFile } from "./artifacts.api";

export type Change = "added" | "removed" | "changed";

export interface Entry {
  path: string;
  /** As it is in the version that is open; of a removed one, as it was. */
  file: ArtifactFile;
  change?: Change;
  /** As it is in the version it is compared with. */
  before?: ArtifactFile;
}

export interface TreeRow {
  path: string;
  name: string;
  depth: number;
  /** Bytes; of a folder, of everything in it. */
  size: number;
  /** Of a file. */
  entry?: Entry;
  /** Of a folder: how many files are in it, and whether they are shown. */
  files?: number;
  open?: boolean;
}

export type TreeOrder = "name" | "size";

interface Folder {
  path: string;
  name: string;
  size: number;
  files: number;
  folders: Map<string, Folder>;
  entries: Entry[];
}

/** Folders of a version with more files than this are closed until they are opened, unless nothing is beside them. */
const FEW = 60;

function folder(path: string, name: string): Folder {
  return { path, name, size: 0, files: 0, folders: new Map(), entries: [] };
}

export function treeOf(entries: readonly Entry[]): Folder {
  const root = folder("", "");
  for (const entry of entries) {
    const size = entry.file.sizeBytes ?? 0;
    let at = root;
    const names = entry.path.split("/");
    for (let depth = 0; ; depth++) {
      at.size += size;
      at.files++;
      if (depth === names.length - 1) break;
      const name = names[depth]!;
      let inner = at.folders.get(name);
      if (!inner) at.folders.set(name, (inner = folder(at.path ? `${at.path}/${name}` : name, name)));
      at = inner;
    }
    at.entries.push(entry);
  }
  return root;
}

/**
 * What is seen of a tree, from top to bottom: folders before files, each by name or the largest first.
 * `turned` are folders that somebody opened or closed; `all` opens every one.
 */
export function rowsOf(root: Folder, turned: ReadonlySet<string>, order: TreeOrder, all: boolean): TreeRow[] {
  const few = root.files <= FEW;
  const rows: TreeRow[] = [];
  const walk = (at: Folder, depth: number) => {
    const inner = [...at.folders.values()].sort(order === "size" ? (a, b) => b.size - a.size : (a, b) => byName(a.name, b.name));
    const lone = inner.length === 1 && !at.entries.length;
    for (const one of inner) {
      const open = all || (few || lone) !== turned.has(one.path);
      rows.push({ path: one.path, name: one.name, depth, size: one.size, files: one.files, open });
      if (open) walk(one, depth + 1);
    }
    const files = at.entries.map((entry) => ({ entry, path: entry.path, name: entry.path.slice(entry.path.lastIndexOf("/") + 1), depth, size: entry.file.sizeBytes ?? 0 }));
    rows.push(...files.sort(order === "size" ? (a, b) => b.size - a.size : (a, b) => byName(a.name, b.name)));
  };
  walk(root, 0);
  return rows;
}

const collator = new Intl.Collator("en", { numeric: true });
const byName = (a: string, b: string) => collator.compare(a, b);

/** The folders that have to be open for a file to be seen. */
export function foldersOf(path: string): string[] {
  const names = path.split("/").slice(0, -1);
  return names.map((_, depth) => names.slice(0, depth + 1).join("/"));
}

/** What is different in `now`, by path. */
export function changes(before: readonly ArtifactFile[], now: readonly ArtifactFile[]): Entry[] {
  const old = new Map(before.map((file) => [file.path, file]));
  const found: Entry[] = [];
  for (const file of now) {
    const was = old.get(file.path);
    old.delete(file.path);
    if (!was) found.push({ path: file.path, file, change: "added" });
    else if (!isSame(was, file)) found.push({ path: file.path, file, change: "changed", before: was });
  }
  for (const file of old.values()) found.push({ path: file.path, file, change: "removed", before: file });
  return found;
}

/** By digest; a reference without one by where it leads and how large it is. */
function isSame(a: ArtifactFile, b: ArtifactFile): boolean {
  if (a.sha256 !== null && b.sha256 !== null) return a.sha256 === b.sha256;
  return a.sha256 === b.sha256 && a.uri === b.uri && a.sizeBytes === b.sizeBytes && a.etag === b.etag;
}
