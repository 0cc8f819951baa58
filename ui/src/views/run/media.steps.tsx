// The step that media are looked at: one for all keys, in the address.
import { setQuery } from "../../router";

interface StepsProps {
  /** Ascending. */
  steps: readonly number[];
  /** Null stands for the newest, whatever it will be. */
  step: number | null;
  /** The name that the step has in the address. */
  name: string;
}

/** A slider over the steps, with a button to either side. */
export function Steps({ steps, step, name }: StepsProps) {
  if (!steps.length) return null;
  const last = steps.length - 1;
  const place = step === null ? last : Math.max(0, steps.filter((known) => known <= step).length - 1);
  const go = (to: number) => setQuery({ [name]: to >= last ? null : String(steps[Math.max(0, to)]) });
  return (
    <span class="steps">
      <button class="quiet" aria-label="Earlier step" disabled={place === 0} onClick={() => go(place - 1)}>‹</button>
      <label>
        step
        <input
          type="range" min="0" max={last} step="1" value={place} disabled={last === 0}
          aria-label="Step" aria-valuetext={String(steps[place])} onInput={(event) => go(Number(event.currentTarget.value))}
        />
        <output>{steps[place]!.toLocaleString("en-US")}</output>
      </label>
      <button class="quiet" aria-label="Later step" disabled={place === last} onClick={() => go(place + 1)}>›</button>
      {step === null && last > 0 && <span class="muted">newest</span>}
    </span>
  );
}

export function stepOf(query: URLSearchParams, name: string): number | null {
  const text = query.get(name);
  const step = text === null ? NaN : Number(text);
  return Number.isFinite(step) ? step : null;
}
