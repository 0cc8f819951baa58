// Everything that happened to a run, as one list in the order of time.
import { signal } from "@preact/signals";
import { ApiError, type Marker, type RunDetail } from "../../api";
import { plain } from "../../format";
import { type Command, commands } from "./dials.api";

export interface Happening {
  timeMs: number;
  kind: string;
  words: string;
  /** What else is known of it. */
  more: string;
  step: number | null;
  bad: boolean;
}

const PAGES = 10;
/** Markers that say again what an attempt or a command says. */
const TWICE = new Set(["resume", "control"]);

export class CommandList {
  readonly rows = signal<readonly Command[]>([]);
  readonly error = signal<ApiError | null>(null);
  private closed = false;

  constructor(private readonly runId: string) {}

  close(): void {
    this.closed = true;
  }

  async load(): Promise<void> {
    try {
      const found: Command[] = [];
      let cursor: string | null = null;
      for (let page = 0; page < PAGES; page++) {
        const answer: Awaited<ReturnType<typeof commands>> = await commands(this.runId, cursor);
        found.push(...answer.commands);
        cursor = answer.page.nextCursor;
        if (cursor === null) break;
      }
      if (this.closed) return;
      this.rows.value = found;
      this.error.value = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.error.value = error;
    }
  }
}

/** Newest first. */
export function happenings(run: RunDetail, markers: readonly Marker[], turned: readonly Command[]): Happening[] {
  const found = [...attempts(run), ...turned.map(turning)];
  const commandsKnown = turned.length > 0;
  for (const marker of markers) {
    if (marker.kind === "resume" || (TWICE.has(marker.kind) && commandsKnown)) continue;
    found.push({
      timeMs: marker.timeMs, kind: marker.kind, words: marker.kind === "non_finite" ? `${marker.name} was not finite` : marker.name, step: marker.step,
      more: told(marker.attrs),
      bad: marker.kind === "non_finite" || (marker.kind === "alert" && marker.attrs.level === "error"),
    });
  }
  // Of what happened in the same millisecond the later stands above.
  return found.sort((a, b) => a.timeMs - b.timeMs).reverse();
}

function told(attrs: Record<string, unknown>): string {
  const { level, text, ...rest } = attrs;
  const words = [text, level].filter((part) => typeof part === "string" && part) as string[];
  return [...words, ...Object.entries(rest).map(([name, value]) => `${name} ${plain(value)}`)].join(", ");
}

function attempts(run: RunDetail): Happening[] {
  return run.attempts.flatMap((attempt, place) => {
    const name = `attempt ${place + 1}`;
    const where = [attempt.host && `${attempt.host}:${attempt.pid}`, attempt.rank ? `rank ${attempt.rank}` : "", attempt.client].filter(Boolean).join(", ");
    const begun: Happening = { timeMs: attempt.startedAtMs, kind: "attempt", words: `${name} began`, more: where, step: null, bad: false };
    if (attempt.status === "running") return [begun];
    const bad = attempt.status === "failed" || attempt.status === "crashed";
    const why = place === run.attempts.length - 1 ? run.reason ?? "" : "";
    return [begun, { timeMs: attempt.endedAtMs ?? attempt.lastSeenMs, kind: "attempt", words: `${name} ${attempt.status}`, more: why, step: null, bad }];
  });
}

function turning(command: Command): Happening {
  const value = command.value === null ? "" : ` → ${plain(command.value)}`;
  const former = command.former === null ? "" : `was ${plain(command.former)}`;
  const more = [command.status, former, command.error ?? "", command.author && `by ${command.author}`, command.reason && `because ${command.reason}`];
  return {
    timeMs: command.createdAtMs, kind: "command", words: `${command.name}${value}`, step: null,
    more: more.filter(Boolean).join(", "), bad: command.status === "failed" || command.status === "rejected",
  };
}
