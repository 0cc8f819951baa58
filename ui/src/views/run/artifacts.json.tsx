import { useSignal } from "@preact/signals";
import { count } from "../../format";

/** Members that are shown before one asks for more. */
const FIRST = 100;
/** Characters of a text that are shown before one asks for more. */
const LONG = 400;
/** How deep it is open at first. */
const DEPTH = 2;

interface NodeProps {
  name: string | null;
  value: unknown;
  depth: number;
}

/** A JSON document whose parts fold; what is folded costs nothing. */
export function JsonTree({ value }: { value: unknown }) {
  return <div class="json" tabIndex={0} role="group" aria-label="JSON"><Node name={null} value={value} depth={0} /></div>;
}

function Node({ name, value, depth }: NodeProps) {
  if (typeof value === "object" && value !== null) return <Members name={name} value={value} depth={depth} />;
  return <p><Name name={name} />{typeof value === "string" ? <Words text={value} /> : <b>{String(value)}</b>}</p>;
}

function Name({ name }: { name: string | null }) {
  return name === null ? null : <><span class="name">{name}</span><span class="muted">: </span></>;
}

function Members({ name, value, depth }: NodeProps & { value: object }) {
  const list = Array.isArray(value);
  const names = Object.keys(value);
  const open = useSignal(depth < DEPTH && names.length <= FIRST);
  const most = useSignal(FIRST);
  const words = list ? `[${count(names.length, "item")}]` : `{${count(names.length, "key")}}`;
  if (!names.length) return <p><Name name={name} /><span class="muted">{list ? "[]" : "{}"}</span></p>;
  return (
    <details open={open.value} onToggle={(event) => (open.value = event.currentTarget.open)}>
      <summary><Name name={name} /><span class="muted">{words}</span></summary>
      {open.value && names.slice(0, most.value).map((member) => (
        <Node key={member} name={member} value={(value as Record<string, unknown>)[member]} depth={depth + 1} />
      ))}
      {open.value && names.length > most.value && (
        <button onClick={() => (most.value += 10 * FIRST)}>{(names.length - most.value).toLocaleString("en-US")} more</button>
      )}
    </details>
  );
}

function Words({ text }: { text: string }) {
  const whole = useSignal(text.length <= LONG);
  return (
    <>
      <span class="words">"{whole.value ? text : text.slice(0, LONG)}{whole.value && '"'}</span>
      {!whole.value && <button onClick={() => (whole.value = true)}>… {count(text.length - LONG, "character")} more</button>}
    </>
  );
}
