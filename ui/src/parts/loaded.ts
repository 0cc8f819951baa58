// What a view fetches, and how that went.
import { type Signal, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ApiError } from "../api";

export interface Loaded<T> {
  /** Null until the first answer; a fetch that fails leaves what is there. */
  value: T | null;
  error: ApiError | null;
  load(): void;
  /** To put in what an answer to a change has said. */
  signal: Signal<T | null>;
}

/** Fetches once, and again whenever one of `wanted` changes. What was asked last wins. */
export function useLoaded<T>(fetch: () => Promise<T>, wanted: readonly unknown[]): Loaded<T> {
  const value = useSignal<T | null>(null);
  const error = useSignal<ApiError | null>(null);
  const asked = useRef(0);
  const load = async () => {
    const mine = ++asked.current;
    try {
      const found = await fetch();
      if (mine !== asked.current) return;
      value.value = found;
      error.value = null;
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      if (mine === asked.current) error.value = failure;
    }
  };
  useEffect(() => {
    void load();
    return () => void asked.current++;
  }, wanted);
  return { value: value.value, error: error.value, load: () => void load(), signal: value };
}
