import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { ApiError } from "../api";

/** What failed, what to do, and a way to try again. */
export function Failure({ error, retry }: { error: ApiError; retry: () => void }) {
  return (
    <p class="notice bad" role="alert">
      {error.message} {error.hint} <button onClick={retry}>Retry</button>
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
      <code ref={code}>{text}</code>
      <button class="quiet" onClick={copy} aria-label={`Copy ${block ? "the snippet" : text}`}>
        {copied.value ? "copied" : "copy"}
      </button>
    </span>
  );
}

export function QuickStart({ project }: { project: string }) {
  const snippet = [
    "import rundial as rd",
    "",
    `run = rd.init(project=${JSON.stringify(project)})`,
    "for step in range(100):",
    '    run.log({"train/loss": 1 / (step + 1)})',
    "run.finish()",
  ].join("\n");
  return (
    <div class="empty">
      <p>No runs yet. This logs the first one:</p>
      <Copyable text={snippet} block />
    </div>
  );
}
