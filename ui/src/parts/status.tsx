import type { JSX } from "preact";
import type { Status as StatusName } from "../api";

// A shape beside each word, so that nobody needs the colour.
const SHAPES: Record<StatusName, JSX.Element> = {
  running: <circle cx="6" cy="6" r="4" fill="currentColor" />,
  completed: <path d="M2 6.5l2.6 2.7L10 3.4" fill="none" stroke="currentColor" stroke-width="1.6" />,
  failed: <path d="M2.6 2.6l6.8 6.8M9.4 2.6l-6.8 6.8" fill="none" stroke="currentColor" stroke-width="1.8" />,
  crashed: <path d="M6 1.6l5 8.8H1z" fill="none" stroke="currentColor" stroke-width="1.5" />,
  aborted: <rect x="2.4" y="2.4" width="7.2" height="7.2" fill="none" stroke="currentColor" stroke-width="1.5" />,
};

export function Status({ status }: { status: StatusName }) {
  return (
    <span class={`status ${status}`}>
      <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">{SHAPES[status]}</svg>
      {status}
    </span>
  );
}
