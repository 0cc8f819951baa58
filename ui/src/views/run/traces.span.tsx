import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { ApiError, type RunDetail } from "../../api";
import { dateTime, plain } from "../../format";
import { Copyable } from "../../parts/notice";
import { type Evidence, evidenceUrl, type Span } from "./traces.api";
import { between, bytes, dollars, lasted, milliseconds } from "./traces.words";

const SHOWN = 2000;

interface PanelProps {
  run: RunDetail;
  span: Span;
  traceStartNs: string;
}

/** Everything that is known of one span. */
export function SpanPanel({ run, span, traceStartNs }: PanelProps) {
  const attrs = Object.entries(span.attrs);
  const into = between(traceStartNs, span.startNs);
  const tokens = span.tokensIn !== null || span.tokensOut !== null;
  const model = [span.system, span.model].filter((word) => word !== null).join(" · ");
  return (
    <section class="span-panel" aria-label="span">
      <h2>{span.name || "(no name)"}</h2>
      <dl class="facts">
        <Fact name="Status"><span class={span.status === "error" ? "bad" : ""}>{span.status}</span></Fact>
        {span.message && <Fact name="Message"><span class={span.status === "error" ? "bad" : ""}>{span.message}</span></Fact>}
        <Fact name="Kind">{span.kind}</Fact>
        <Fact name="Duration">{lasted(between(span.startNs, span.endNs))}</Fact>
        <Fact name="Began">{dateTime(milliseconds(span.startNs))}{into > 0 && `, ${lasted(into)} into the trace`}</Fact>
        {model && <Fact name="Model">{model}</Fact>}
        {tokens && <Fact name="Tokens">{plain(span.tokensIn ?? 0)} in, {plain(span.tokensOut ?? 0)} out</Fact>}
        {span.costUsd !== null && <Fact name="Cost">{dollars(span.costUsd)}</Fact>}
        <Fact name="Span id"><Copyable text={span.spanId} /></Fact>
        <Fact name="Trace id"><Copyable text={span.traceId} /></Fact>
      </dl>
      <h3>Attributes</h3>
      {attrs.length === 0 && <p class="muted">None.</p>}
      {attrs.map(([name, value]) => <Attribute key={name} run={run} name={name} value={value} />)}
      {span.events.length > 0 && <h3>Events</h3>}
      <ol class="span-events">
        {span.events.map((event, index) => (
          <li key={index}>
            <b class={event.name === "exception" ? "bad" : ""}>{event.name}</b>{" "}
            <time>{lasted(Math.max(0, between(span.startNs, event.timeNs)))}</time>
            {Object.entries(event.attrs).map(([name, value]) => <Attribute key={name} run={run} name={name} value={value} />)}
          </li>
        ))}
      </ol>
    </section>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return <><dt>{name}</dt><dd>{children}</dd></>;
}

function Attribute({ run, name, value }: { run: RunDetail; name: string; value: unknown }) {
  if (isEvidence(value)) return <Large run={run} name={name} evidence={value} />;
  const text = typeof value === "object" && value !== null ? JSON.stringify(value, null, 2) : plain(value);
  const short = text.length <= 40 && !text.includes("\n");
  return (
    <div class={short ? "attribute short" : "attribute"}>
      <span class="code key">{name}</span>
      {short ? <span class="code">{text}</span> : <Long text={text} />}
    </div>
  );
}

function Long({ text }: { text: string }) {
  const whole = useSignal(false);
  const cut = !whole.value && text.length > SHOWN;
  return (
    <>
      <pre>{cut ? text.slice(0, SHOWN) : text}</pre>
      {cut && <button onClick={() => (whole.value = true)}>show all {text.length.toLocaleString("en-US")} characters</button>}
    </>
  );
}

/** A value that lies in the artifact store: how it begins, and a way to have it. */
function Large({ run, name, evidence }: { run: RunDetail; name: string; evidence: Evidence }) {
  const problem = useSignal("");
  const stored = evidence.kind === "rundial.evidence_ref";
  const download = async () => {
    try {
      const url = await evidenceUrl(run.projectId, run.runId, evidence);
      problem.value = url ? "" : "It has not arrived yet.";
      if (url) save(url);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      problem.value = error.message;
    }
  };
  return (
    <div class="attribute">
      <span class="code key">{name}</span>
      {evidence.preview && <pre>{evidence.preview}…</pre>}
      <p>
        {stored
          ? <button onClick={() => void download()}>download {bytes(evidence.sizeBytes)}</button>
          : <span class="bad">{bytes(evidence.sizeBytes)} {evidence.status ?? "not stored"}</span>}{" "}
        <span class="muted">{evidence.contentType}</span> {problem.value && <span class="bad" role="alert">{problem.value}</span>}
      </p>
    </div>
  );
}

function save(url: string): void {
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = "";
  anchor.click();
}

function isEvidence(value: unknown): value is Evidence {
  const kind = typeof value === "object" && value !== null ? (value as { kind?: unknown }).kind : undefined;
  return kind === "rundial.evidence_ref" || kind === "rundial.evidence_marker";
}
