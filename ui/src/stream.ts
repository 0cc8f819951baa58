// The live connection: one EventSource for each view.
import { type Signal, signal } from "@preact/signals";
import { type Marker, type Run, whoami } from "./api";

export type LivePoints = Record<string, [step: number, timeMs: number, value: unknown][]>;

export interface StreamHandlers {
  run(run: Run): void;
  points(runId: string, keys: [string, LivePoints[string]][]): void;
  marker?(runId: string, marker: Marker): void;
  /** There is more of these kinds: logs, spans, media, artifacts, evals. */
  more?(runId: string, kinds: string[]): void;
  /** Events may have been missed: fetch everything again. */
  resync(): void;
}

const RETRY_MS = 3000;

export class LiveStream {
  /** Whether events arrive, and since when it is so (Unix milliseconds). */
  readonly state: Signal<{ open: boolean; since: number }> = signal({ open: false, since: Date.now() });
  private source: EventSource | null = null;
  private retry = 0;
  private missed = false;

  constructor(
    private readonly scope: { runId: string } | { projectId: string },
    private readonly handlers: StreamHandlers,
  ) {
    document.addEventListener("visibilitychange", this.onVisibility);
    this.open();
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.disconnect();
  }

  private readonly onVisibility = (): void => {
    // Browsers allow six connections to a server in all tabs together: a tab nobody sees must not hold one.
    if (document.hidden) {
      this.disconnect();
      this.missed = true;
    } else if (!this.source) {
      this.open();
    }
  };

  private disconnect(): void {
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
    this.setOpen(false);
  }

  private setOpen(open: boolean): void {
    if (this.state.peek().open !== open) this.state.value = { open, since: Date.now() };
  }

  private open(): void {
    const source = new EventSource(`/api/v1/stream?${new URLSearchParams({ ...this.scope })}`);
    this.source = source;
    source.onopen = () => {
      this.setOpen(true);
      if (this.missed) this.handlers.resync();
      this.missed = false;
    };
    source.onerror = () => {
      this.setOpen(false);
      // The browser reconnects by itself, with Last-Event-ID, unless the answer was a refusal.
      if (source.readyState === EventSource.CLOSED) this.reopenLater();
    };
    const on = (name: string, handle: (data: any) => void) =>
      source.addEventListener(name, (event) => handle(JSON.parse((event as MessageEvent<string>).data)));
    on("run", (run: Run) => this.handlers.run(run));
    on("points", (data: { runId: string; keys: LivePoints }) =>
      this.handlers.points(data.runId, Object.entries(data.keys)),
    );
    on("marker", (data: { runId: string; marker: Marker }) => this.handlers.marker?.(data.runId, data.marker));
    on("more", (data: { runId: string; kinds: string[] }) => this.handlers.more?.(data.runId, data.kinds));
    source.addEventListener("resync", () => this.handlers.resync());
  }

  private reopenLater(): void {
    this.missed = true;
    this.source = null;
    // An EventSource does not tell why it was refused; whoami does, and a 401 shows the signed-out page.
    whoami().catch(() => undefined);
    this.retry = window.setTimeout(() => this.open(), RETRY_MS);
  }
}
