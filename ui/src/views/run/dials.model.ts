// What the dials view knows: the dials, the commands to them, and what is on its way.
import { batch, signal } from "@preact/signals";
import { ApiError } from "../../api";
import { type Command, commands, type Dial, dials, type Dials, turn, type Value } from "./dials.api";

/** Commands whose outcome is still to come. */
export const isOpen = (command: Command): boolean => command.status === "pending" || command.status === "delivered";

export class DialModel {
  readonly board = signal<Dials | null>(null);
  readonly commands = signal<readonly Command[]>([]);
  readonly hasMore = signal(false);
  readonly error = signal<ApiError | null>(null);
  /** Why the last command to a dial was refused, by the dial's name. */
  readonly refused = signal<Readonly<Record<string, string>>>({});
  private cursor: string | null = null;
  private flight = false;
  private again = false;
  private closed = false;

  constructor(private readonly runId: string) {}

  close(): void {
    this.closed = true;
  }

  /** Fetches everything anew; when it is being fetched already, once more after that. */
  async load(): Promise<void> {
    if (this.flight) {
      this.again = true;
      return;
    }
    this.flight = true;
    try {
      do {
        this.again = false;
        const [board, page] = await Promise.all([dials(this.runId), commands(this.runId, null)]);
        if (this.closed) return;
        batch(() => {
          this.board.value = board;
          const oldest = page.commands.at(-1)?.place ?? 0;
          const older = this.commands.value.filter((command) => command.place < oldest);
          this.commands.value = [...page.commands, ...older];
          if (!older.length) {
            this.cursor = page.page.nextCursor;
            this.hasMore.value = page.page.hasMore;
          }
          this.error.value = null;
        });
      } while (this.again);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.error.value = error;
    } finally {
      this.flight = false;
    }
  }

  async older(): Promise<void> {
    try {
      const page = await commands(this.runId, this.cursor);
      if (this.closed) return;
      batch(() => {
        this.commands.value = [...this.commands.value, ...page.commands];
        this.cursor = page.page.nextCursor;
        this.hasMore.value = page.page.hasMore;
      });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.error.value = error;
    }
  }

  /** The newest command to a dial. */
  newest(name: string): Command | undefined {
    return this.commands.value.find((command) => command.name === name);
  }

  async turn(dial: Dial, value: Value, reason = ""): Promise<void> {
    const { [dial.name]: _, ...others } = this.refused.value;
    this.refused.value = others;
    try {
      const sent = await turn(this.runId, dial.name, value, reason);
      if (this.closed) return;
      this.commands.value = [sent, ...this.commands.value.filter((one) => one.commandId !== sent.commandId)];
      await this.load();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (!this.closed) this.refused.value = { ...this.refused.value, [dial.name]: `${error.message} ${error.hint ?? ""}`.trim() };
    }
  }
}
