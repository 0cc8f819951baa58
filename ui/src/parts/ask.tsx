import { type Signal, useSignal } from "@preact/signals";
import { ApiError } from "../api";
import { Said } from "./notice";

/** Does something once, and says why it could not. */
export function useAction(): { error: Signal<ApiError | null>; busy: Signal<boolean>; act(what: () => Promise<void>): Promise<void> } {
  const error = useSignal<ApiError | null>(null);
  const busy = useSignal(false);
  const act = async (what: () => Promise<void>) => {
    if (busy.value) return;
    busy.value = true;
    try {
      await what();
      error.value = null;
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      error.value = failure;
    } finally {
      busy.value = false;
    }
  };
  return { error, busy, act };
}

/** A button that asks once more before it does what cannot be undone. */
export function Sure({ words, label, act }: { words: string; label: string; act(): void }) {
  const asking = useSignal(false);
  if (!asking.value) return <button aria-label={label} onClick={() => (asking.value = true)}>{words}</button>;
  return (
    <span class="sure">
      <button class="bad" aria-label={`Really ${label.charAt(0).toLowerCase()}${label.slice(1)}`} ref={(button) => button?.focus()} onClick={() => { asking.value = false; act(); }}>
        really {words}
      </button>
      <button class="quiet" onClick={() => (asking.value = false)}>no</button>
    </span>
  );
}

/** What was refused, beside what was asked. */
export function Refused({ error }: { error: ApiError | null }) {
  return error && <p class="bad" role="alert"><Said error={error} /></p>;
}
