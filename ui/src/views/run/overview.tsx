import type { ComponentChildren } from "preact";
import type { Attempt, Marker, PrimaryMetric, RunDetail } from "../../api";
import { markerText } from "../../chart/tooltip";
import { clock, count, dateTime, number, plain } from "../../format";
import { Copyable } from "../../parts/notice";
import { Status } from "../../parts/status";
import { Lasted } from "../../parts/time";
import { setQuery } from "../../router";
import { Values } from "./values";

const SHOWN_MARKERS = 20;
const SHOWN_STAGES = 50;

export function Overview({ run, markers }: { run: RunDetail; markers: readonly Marker[] }) {
  return (
    <div class="overview">
      <div>
        <Facts run={run} />
        {run.traceback && <section><h2>Traceback</h2><pre class="traceback">{run.traceback}</pre></section>}
        <Delivery attempts={run.attempts} />
        <Attempts attempts={run.attempts} />
        <Stages run={run} markers={markers} />
        <Events markers={markers} />
      </div>
      <div>
        <Values title="Config" values={run.config} words={plain} />
        <Values title="Summary" values={run.summary} words={rounded} />
        <Environment values={run.environment} />
      </div>
    </div>
  );
}

function Facts({ run }: { run: RunDetail }) {
  return (
    <section>
      <h2>Run</h2>
      <dl class="facts">
        <Fact name="Status"><Status status={run.status} /></Fact>
        {run.reason && <Fact name="Reason">{run.reason}</Fact>}
        <Fact name="Run id"><Copyable text={run.runId} /></Fact>
        <Fact name="Project id"><Copyable text={run.projectId} /></Fact>
        <Fact name="Started">{dateTime(run.startedAtMs)}</Fact>
        {run.finishedAtMs && <Fact name="Finished">{dateTime(run.finishedAtMs)}</Fact>}
        <Fact name="Points">{run.points.toLocaleString("en-US")}</Fact>
        {run.primaryMetric && <Fact name="Primary metric"><Primary metric={run.primaryMetric} /></Fact>}
        {run.path && <Fact name="Path">{run.path}</Fact>}
        {run.alias && <Fact name="Alias">{run.alias}</Fact>}
        {run.group && <Fact name="Group">{run.group}</Fact>}
        {run.jobType && <Fact name="Job type">{run.jobType}</Fact>}
        {run.tags.length > 0 && <Fact name="Tags">{run.tags.join(", ")}</Fact>}
        {run.notes && <Fact name="Notes">{run.notes}</Fact>}
        <Origin system={run.attempts.at(-1)?.system ?? {}} />
        {Object.entries(run.nonFinite).map(([key, times]) => (
          <Fact key={key} name="Not finite">{key}, {times} ×</Fact>
        ))}
      </dl>
    </section>
  );
}

function Primary({ metric: { name, mode, value, step } }: { metric: PrimaryMetric }) {
  const where = step === null ? "" : ` at step ${step.toLocaleString("en-US")}`;
  return <>{mode} of <span class="code">{name}</span>{value !== null && <>: <b title={String(value)}>{number(value)}</b>{where}</>}</>;
}

/** Where the newest attempt came from: its command, folder and commit. */
function Origin({ system }: { system: Record<string, unknown> }) {
  const git = (system.git ?? {}) as Record<string, unknown>;
  const { branch, remote } = git;
  return (
    <>
      {typeof system.command === "string" && <Fact name="Command"><span class="code">{system.command}</span></Fact>}
      {typeof system.directory === "string" && <Fact name="Directory"><span class="code">{system.directory}</span></Fact>}
      {typeof git.commit === "string" && (
        <Fact name="Commit">
          <Copyable text={git.commit} />
          {typeof branch === "string" && <> on {branch}</>}
        </Fact>
      )}
      {typeof remote === "string" && <Fact name="Repository"><span class="code">{remote}</span></Fact>}
    </>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return <><dt>{name}</dt><dd>{children}</dd></>;
}

/** What became of everything that was sent, over all attempts. */
function Delivery({ attempts }: { attempts: Attempt[] }) {
  const sum = (amount: (attempt: Attempt) => number) => attempts.reduce((total, attempt) => total + amount(attempt), 0);
  const rejected = byReason(attempts.map((attempt) => attempt.rejected));
  const dropped = byReason(attempts.map((attempt) => attempt.dropped));
  // The client's own count comes at its end; until every attempt has told it, a sum would mislead.
  const told = attempts.length > 0 && attempts.every((attempt) => attempt.logged !== null);
  return (
    <section>
      <h2>Delivery</h2>
      <p class="delivery">
        {told && <span><b>{sum((attempt) => attempt.logged ?? 0).toLocaleString("en-US")}</b> logged</span>}
        <span><b>{sum((attempt) => attempt.received).toLocaleString("en-US")}</b> received</span>
        <span><b>{sum((attempt) => attempt.duplicate).toLocaleString("en-US")}</b> duplicate</span>
        <Losses words="rejected" reasons={rejected} />
        <Losses words="dropped" reasons={dropped} />
      </p>
    </section>
  );
}

function Losses({ words, reasons }: { words: string; reasons: ReadonlyMap<string, number> }) {
  const total = [...reasons.values()].reduce((sum, times) => sum + times, 0);
  const why = [...reasons].map(([reason, times]) => `${reason} ${times.toLocaleString("en-US")}`).join(", ");
  return (
    <span class={total ? "lost" : ""}>
      <b>{total.toLocaleString("en-US")}</b> {words}{why && ` (${why})`}
    </span>
  );
}

function byReason(counts: Record<string, number>[]): Map<string, number> {
  const total = new Map<string, number>();
  for (const [reason, times] of counts.flatMap((each) => Object.entries(each))) {
    if (times) total.set(reason, (total.get(reason) ?? 0) + times);
  }
  return total;
}

function Attempts({ attempts }: { attempts: Attempt[] }) {
  return (
    <section>
      <h2>Attempts</h2>
      <div class="scroll-x">
        <table class="rows">
          <thead><tr><th>Status</th><th>Host</th><th class="figure">Pid</th><th class="figure">Rank</th><th class="figure">Time</th><th>Client</th></tr></thead>
          <tbody>
            {attempts.map((attempt) => (
              <tr key={attempt.stream} title={plain(attempt.system)}>
                <td><Status status={attempt.status} /></td>
                <td class="code">{attempt.host || "–"}</td>
                <td class="figure">{attempt.pid || "–"}</td>
                <td class="figure">{attempt.rank}</td>
                <td class="figure"><Lasted startMs={attempt.startedAtMs} endMs={attempt.endedAtMs ?? (attempt.status === "running" ? null : attempt.lastSeenMs)} /></td>
                <td class="code">{attempt.client || "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Events({ markers }: { markers: readonly Marker[] }) {
  const shown = markers.filter(({ kind }) => kind !== "stage");
  if (!shown.length) return null;
  return (
    <section>
      <h2>Events</h2>
      <ol class="events">
        {shown.slice(-SHOWN_MARKERS).reverse().map((marker, place) => (
          <li key={place} class={marker.kind === "non_finite" ? "bad" : ""}><time>{clock(marker.timeMs)}</time> {markerText(marker)}</li>
        ))}
      </ol>
      <button onClick={() => setQuery({ tab: "events" }, true)}>all events</button>
    </section>
  );
}

/** The stages a run went through: from which step, and for how long. */
function Stages({ run, markers }: { run: RunDetail; markers: readonly Marker[] }) {
  const stages = markers.filter(({ kind }) => kind === "stage");
  if (!stages.length) return null;
  const now = run.finishedAtMs ?? (run.status === "running" ? null : run.updatedAtMs);
  return (
    <section>
      <h2>Stages</h2>
      <table class="rows stages">
        <thead><tr><th>Stage</th><th class="figure">From step</th><th class="figure">Time</th></tr></thead>
        <tbody>
          {stages.map((stage, place) => (
            <tr key={place}>
              <td class="name" title={stage.name}>{stage.name}</td>
              <td class="figure">{stage.step?.toLocaleString("en-US") ?? "–"}</td>
              <td class="figure"><Lasted startMs={stage.timeMs} endMs={stages[place + 1]?.timeMs ?? now} /></td>
            </tr>
          )).slice(-SHOWN_STAGES)}
        </tbody>
      </table>
    </section>
  );
}

/** The machine in short; every package stands under Code. */
function Environment({ values }: { values: Record<string, unknown> }) {
  const { packages, ...rest } = values;
  if (!Object.keys(values).length) return null;
  const amount = typeof packages === "object" && packages !== null ? Object.keys(packages).length : 0;
  return (
    <>
      <Values title="Environment" values={rest} words={plain} />
      {amount > 0 && <p><button onClick={() => setQuery({ tab: "code", file: "/environment" }, true)}>{count(amount, "package")}</button></p>}
    </>
  );
}

/** Results are read at a glance, with the exact value on hover; a config is read to be used again. */
function rounded(value: unknown): string {
  return typeof value === "number" ? number(value) : plain(value);
}
