import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { ApiError } from "../api";

/** What the server said and what to do; what one types stands between backticks. */
export function Said({ error }: { error: ApiError }) {
  const parts = [error.message, error.hint].filter(Boolean).join(" ").split("`");
  return <>{parts.map((part, place) => (place % 2 ? <code key={place}>{part}</code> : part))}</>;
}

/** What failed, what to do, and a way to try again. */
export function Failure({ error, retry }: { error: ApiError; retry: () => void }) {
  return (
    <p class="notice bad" role="alert">
      <Said error={error} /> <button onClick={retry}>Retry</button>
    </p>
  );
}

/** Text to take along; the button puts it on the clipboard. */
export function Copyable({ text, block = false }: { text: string; block?: boolean }) {
  const copied = useSignal(false);
  const code = useRef<HTMLElement>(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      copied.value = true;
      setTimeout(() => (copied.value = false), 1500);
    } catch {
      // Plain http on another host has no clipboard: leave the text selected for Ctrl-C.
      getSelection()?.selectAllChildren(code.current!);
    }
  };
  return (
    <span class={block ? "copyable block" : "copyable"}>
      <code ref={code} tabIndex={block ? 0 : undefined}>{text}</code>
      <button class="quiet" onClick={copy} aria-label={`Copy ${block ? "the snippet" : text}`}>
        {copied.value ? "copied" : "copy"}
      </button>
    </span>
  );
}

/** A button that puts a longer text on the clipboard; where there is none, there is no button. */
export function CopyText({ text, words }: { text: string; words: string }) {
  const copied = useSignal(false);
  if (!navigator.clipboard) return null;
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // The browser forbids it: the text can still be selected.
      return;
    }
    copied.value = true;
    setTimeout(() => (copied.value = false), 1500);
  };
  return <button class="quiet" aria-label={`Copy the ${words}`} onClick={copy}>{copied.value ? "copied" : "copy"}</button>;
}
