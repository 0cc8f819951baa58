// The routes of media (docs/http.md), typed, and what the files of each kind hold (docs/media.md).
import { ApiError, get, type Page } from "../../api";

export type MediaType = "image" | "table" | "histogram" | "audio" | "video" | "html" | "plotly" | "object3d" | "text" | "file";

export interface MediaKey {
  key: string;
  mediaType: MediaType;
  count: number;
  firstStep: number | null;
  lastStep: number | null;
}

export interface MediaItem {
  key: string;
  step: number | null;
  timeMs: number;
  mediaType: MediaType;
  index: number;
  caption: string | null;
  width: number | null;
  height: number | null;
  tableRows: number | null;
  tableColumns: number | null;
  metadata: MediaFacts;
  sha256: string;
  sizeBytes: number;
  contentType: string;
  url: string;
}

/** What the client knows to say of an item, among whatever the user added. */
export interface MediaFacts extends Record<string, unknown> {
  boxes?: Record<string, Box[]>;
  masks?: Record<string, Mask>;
}

export interface Box {
  /** Corners as fractions of the picture: left, top, right, bottom. */
  box: [number, number, number, number];
  label?: string;
  class?: unknown;
  scores?: Record<string, unknown>;
}

export interface Mask {
  /** Base64 of a PNG whose greys are class numbers. */
  png: string;
  classes: Record<string, string>;
}

export interface HistogramFile {
  edges: number[];
  counts: number[];
}

export type Cell = string | number | boolean | null | Cell[] | { [name: string]: Cell };

export interface TableFile {
  columns: string[];
  rows: Cell[][];
}

const PAGE = 1000;
/** More items of one key than a grid or a slider can show. */
const MOST = 20_000;

interface MediaPage {
  keys: MediaKey[];
  items: MediaItem[];
  page: Page;
}

function media(runId: string, query: Record<string, string>): Promise<MediaPage> {
  return get(`/api/v1/runs/${encodeURIComponent(runId)}/media?${new URLSearchParams(query)}`);
}

export async function mediaKeys(runId: string): Promise<MediaKey[]> {
  return (await media(runId, { limit: "1" })).keys;
}

/** All items of a key, in the order of their steps. */
export async function mediaItems(runId: string, key: string): Promise<MediaItem[]> {
  const items: MediaItem[] = [];
  for (let cursor: string | null = ""; cursor !== null && items.length < MOST; ) {
    const query: Record<string, string> = { key, limit: String(PAGE), ...(cursor && { cursor }) };
    const answer: MediaPage = await media(runId, query);
    items.push(...answer.items);
    cursor = answer.page.hasMore ? answer.page.nextCursor : null;
  }
  return items.sort((a, b) => (a.step ?? -Infinity) - (b.step ?? -Infinity) || a.index - b.index);
}

/** Files never change under their address, so what was fetched once is kept for a while. */
const KEPT = 100;
const files = new Map<string, Promise<unknown>>();

function kept<T>(url: string, load: () => Promise<T>): Promise<T> {
  const known = files.get(url) ?? load();
  files.delete(url);
  files.set(url, known);
  known.catch(() => files.delete(url));
  for (const old of files.keys()) {
    if (files.size <= KEPT) break;
    files.delete(old);
  }
  return known as Promise<T>;
}

export function jsonFile<T>(item: MediaItem): Promise<T> {
  return kept(item.url, () => get<T>(item.url));
}

export function textFile(item: MediaItem): Promise<string> {
  return kept(item.url, async () => {
    const response = await fetch(item.url, { credentials: "same-origin" });
    if (!response.ok) throw new ApiError(response.status, `The server answered ${response.status}.`, null);
    return response.text();
  });
}
