// What is fetched before it can be shown.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { ApiError } from "../../api";
import { jsonFile, type MediaItem, textFile } from "./media.api";

interface FileProps<T> {
  item: MediaItem;
  load(item: MediaItem): Promise<T>;
  children(content: T): ComponentChildren;
}

/** An item's content once it is there; the one before stays until then. */
export function Content<T>({ item, load, children }: FileProps<T>) {
  const content = useSignal<{ url: string; value: T } | null>(null);
  const problem = useSignal<string | null>(null);
  useEffect(() => {
    let current = true;
    const show = async () => {
      try {
        const value = await load(item);
        if (current) [content.value, problem.value] = [{ url: item.url, value }, null];
      } catch (error) {
        if (current) problem.value = error instanceof ApiError ? error.message : "This file cannot be read.";
      }
    };
    void show();
    return () => {
      current = false;
    };
  }, [item.url]);
  if (problem.value) return <p class="bad">{problem.value} <Download item={item} /></p>;
  const loaded = content.value;
  if (!loaded) return <p class="muted">Loading …</p>;
  return <div class={loaded.url === item.url ? undefined : "stale"}>{children(loaded.value)}</div>;
}

export const json = <T,>(item: MediaItem): Promise<T> => jsonFile<T>(item);
export const text = textFile;

export function Download({ item, words = "file" }: { item: MediaItem; words?: string }) {
  return <a href={item.url} download={`${item.key.replaceAll("/", "-")}-${item.step ?? 0}-${item.index}`}>{words}</a>;
}
