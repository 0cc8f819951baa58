import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { dateTime, tick } from "../../format";
import { Copyable, Failure } from "../../parts/notice";
import { Ago } from "../../parts/time";
import type { Command, Dial, Value } from "./dials.api";
import "./dials.css";
import { DialModel, isOpen } from "./dials.model";
import type { RunModel } from "./model";

/** Without a step of its own, a slider has this many. */
const STEPS = 200;

/** The dials of a run: what they are set to, a control for each, and who turned them. */
export function Dials({ run, model }: { run: RunDetail; model: RunModel }) {
  const board = useMemo(() => new DialModel(run.runId), [run.runId]);
  useEffect(() => () => board.close(), [board]);
  const more = model.more.value["dials"] ?? 0;
  useEffect(() => {
    void board.load();
  }, [board, more, run.status]);
  const known = board.board.value;
  const locked = lock(run, known);
  return (
    <div class="dials">
      {board.error.value && <Failure error={board.error.value} retry={() => board.load()} />}
      {known && known.dials.length === 0 && <Nothing />}
      {known && known.dials.length > 0 && (
        <>
          {locked && <p class="notice" role="note">{locked}</p>}
          <ul class="board">
            {known.dials.map((dial) => <Control key={dial.name} dial={dial} board={board} locked={locked !== null || !dial.mayTurn} />)}
          </ul>
          <History board={board} locked={locked !== null} dials={known.dials} />
        </>
      )}
    </div>
  );
}

/** Why nothing can be turned, or null when it can. */
function lock(run: RunDetail, known: { enabled: boolean; mayTurn: boolean } | null): string | null {
  if (run.status !== "running") return "Dials can be turned while a run is running; this one is not.";
  if (known && !known.enabled) return "Control is switched off in this project.";
  if (known && !known.mayTurn) return "You may look, but not turn: that needs the scope control:write.";
  return null;
}

interface ControlProps {
  dial: Dial;
  board: DialModel;
  locked: boolean;
}

function Control({ dial, board, locked }: ControlProps) {
  const newest = board.newest(dial.name);
  const send = (value: Value) => void board.turn(dial, value);
  const refused = board.refused.value[dial.name];
  const words = bounds(dial);
  return (
    <li class="dial" data-dial={dial.name}>
      <div class="name">
        <b>{dial.name}</b>
        {dial.description && <span class="muted">{dial.description}</span>}
      </div>
      <div class="setting">
        <Setting dial={dial} send={send} locked={locked} />
        {words && <span class="muted bounds">{words}</span>}
        {dial.role === "owner" && <span class="muted bounds">owners only</span>}
      </div>
      <p class="fate" role="status">
        {refused ? <span class="bad">{refused}</span> : newest && <Fate command={newest} />}
      </p>
    </li>
  );
}

function bounds({ min, max, unit }: Dial): string {
  const from = min === null ? (max === null ? "" : `up to ${tick(max)}`) : max === null ? `from ${tick(min)}` : `${tick(min)} – ${tick(max)}`;
  return [from, unit].filter(Boolean).join(" ");
}

function number(value: number): string {
  return String(Number(value.toPrecision(6)));
}

function shown(value: Value): string {
  return value === null ? "–" : typeof value === "number" ? number(value) : typeof value === "boolean" ? (value ? "on" : "off") : value;
}

interface SettingProps {
  dial: Dial;
  send(value: Value): void;
  locked: boolean;
}

function Setting(props: SettingProps) {
  const { dial, send, locked } = props;
  if (dial.kind === "action") {
    return <button class="act" disabled={locked} onClick={() => send(null)}>{dial.name}</button>;
  }
  if (dial.kind === "bool") {
    return (
      <label class="switch">
        <input
          type="checkbox" role="switch" checked={dial.value === true} disabled={locked} aria-label={dial.name}
          onClick={(event) => {
            event.preventDefault(); // it moves when the run says that it has
            send(dial.value !== true);
          }}
        />
        {shown(dial.value)}
      </label>
    );
  }
  if (dial.kind === "choice") {
    const at = (dial.choices ?? []).findIndex((choice) => choice === dial.value);
    return (
      <select
        value={String(at)} disabled={locked} aria-label={dial.name}
        onChange={(event) => {
          const picked = dial.choices?.[Number(event.currentTarget.value)];
          event.currentTarget.value = String(at);
          if (picked !== undefined) send(picked);
        }}
      >
        {at < 0 && <option value="-1">{shown(dial.value)}</option>}
        {dial.choices?.map((choice, index) => <option value={String(index)}>{shown(choice)}</option>)}
      </select>
    );
  }
  return <Draft {...props} />;
}

/** A number or a text, which is sent by Enter or its button; a slider is sent when it is let go. */
function Draft({ dial, send, locked }: SettingProps) {
  const draft = useSignal<string | null>(null);
  const numeric = dial.kind !== "text";
  const scale = numeric ? scaleOf(dial) : null;
  const text = draft.value ?? (dial.value === null ? "" : String(dial.value));
  const value = numeric ? Number(text) : text;
  const sound = !numeric || (text.trim() !== "" && fits(dial, Number(text)));
  const commit = () => {
    if (!sound || locked) return;
    send(value);
    draft.value = null;
  };
  return (
    <form
      class="draft"
      onSubmit={(event) => {
        event.preventDefault();
        commit();
      }}
    >
      {scale && (
        <input
          type="range" min={0} max={scale.steps} step={1} disabled={locked} aria-label={`${dial.name}, slider`}
          value={scale.at(sound ? Number(value) : dial.min!)} aria-valuetext={text}
          onInput={(event) => (draft.value = number(scale.value(Number(event.currentTarget.value))))}
          onChange={commit}
        />
      )}
      <input
        type="text" inputMode={numeric ? "decimal" : undefined} class={numeric ? "number" : "words"} value={text} disabled={locked}
        aria-label={dial.name} aria-invalid={!sound} autocomplete="off"
        onInput={(event) => (draft.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") draft.value = null;
        }}
      />
      {draft.value !== null && !locked && <button type="submit" disabled={!sound}>set</button>}
    </form>
  );
}

/** Whether a dial takes the number; the run itself looks again. */
function fits({ kind, min, max }: Dial, value: number): boolean {
  const whole = kind !== "int" || Number.isInteger(value);
  return Number.isFinite(value) && whole && value >= (min ?? -Infinity) && value <= (max ?? Infinity);
}

interface Scale {
  steps: number;
  at(value: number): number;
  value(at: number): number;
}

/** What a slider's positions mean; logarithmic when the range spans orders of magnitude. None without both bounds. */
function scaleOf({ kind, min, max, step }: Dial): Scale | null {
  if (min === null || max === null || min === max) return null;
  if (step === null && kind === "float" && min > 0 && max / min >= 100) {
    const width = Math.log(max / min);
    const value = (at: number) => Math.min(max, Math.max(min, Number((min * Math.exp((width * at) / STEPS)).toPrecision(3))));
    return { steps: STEPS, at: (found) => Math.round((STEPS * Math.log(Math.max(found, min) / min)) / width), value };
  }
  const width = step ?? (kind === "int" ? Math.max(1, Math.ceil((max - min) / 1000)) : (max - min) / STEPS);
  const steps = Math.floor((max - min) / width + 1e-9);
  return { steps, at: (found) => Math.round((found - min) / width), value: (at) => Math.min(max, min + at * width) };
}

/** What became of a command, in words. */
function Fate({ command }: { command: Command }) {
  const { status, value, former, author, error } = command;
  if (isOpen(command)) {
    return (
      <span class="pending">
        {value === null ? "" : `→ ${shown(value)} `}
        {status === "pending" ? "on its way …" : "waits for the next step …"}
      </span>
    );
  }
  if (status === "applied") {
    const change = value === null ? "done" : `${shown(former)} → ${shown(value)}`;
    return <span class="muted">{change} by {author} <Ago timeMs={command.finishedAtMs ?? command.createdAtMs} /></span>;
  }
  return <span class={status === "superseded" ? "muted" : "bad"}>{status}{error ? `: ${error}` : ""}</span>;
}

function History({ board, dials, locked }: { board: DialModel; dials: Dial[]; locked: boolean }) {
  const rows = board.commands.value;
  if (!rows.length) return null;
  return (
    <section>
      <h2>History</h2>
      <div class="scroll">
        <table class="rows">
          <thead>
            <tr><th>When</th><th>Dial</th><th class="figure">From</th><th class="figure">To</th><th>Status</th><th>By</th><th>Why</th><th /></tr>
          </thead>
          <tbody>
            {rows.map((command) => (
              <tr key={command.commandId}>
                <td title={dateTime(command.createdAtMs)}><Ago timeMs={command.createdAtMs} /></td>
                <td>{command.name}</td>
                <td class="figure">{shown(command.former)}</td>
                <td class="figure">{shown(command.value)}</td>
                <td class={`outcome ${command.status}`}>{command.status}</td>
                <td>{command.author}</td>
                <td class="why" title={command.error ?? command.reason ?? ""}>{command.error ?? command.reason ?? ""}</td>
                <td><Undo command={command} dials={dials} board={board} locked={locked} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {board.hasMore.value && <button onClick={() => board.older()}>older</button>}
    </section>
  );
}

/** Sends the former value. */
function Undo({ command, dials, board, locked }: { command: Command; dials: Dial[]; board: DialModel; locked: boolean }) {
  const dial = dials.find(({ name }) => name === command.name);
  if (!dial?.mayTurn || locked || command.status !== "applied" || command.former === null || dial.value === command.former) return null;
  const words = `Set ${command.name} to ${shown(command.former)} again`;
  return (
    <button title={words} aria-label={words} onClick={() => void board.turn(dial, command.former, "undo")}>
      undo
    </button>
  );
}

function Nothing() {
  const snippet = [
    'run.dial("lr", lambda: group["lr"], lambda value: group.update(lr=value), min=1e-6, max=1.0)',
    "for batch in loader:",
    "    run.poll()",
    "    ...",
  ].join("\n");
  return (
    <div class="empty">
      <p>This run offers no dials. With these lines its learning rate can be turned from here while it trains:</p>
      <Copyable text={snippet} block />
    </div>
  );
}
