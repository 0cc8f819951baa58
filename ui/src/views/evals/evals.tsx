import { useEffect, useMemo } from "preact/hooks";
import { get, type Page } from "../../api";
import { count, dateTime, number } from "../../format";
import { Header } from "../../parts/header";
import { useLoaded } from "../../parts/loaded";
import { Copyable, Failure } from "../../parts/notice";
import { Tabs } from "../../parts/tabs";
import { Ago } from "../../parts/time";
import { findProject, type Place } from "../../project";
import { link, route, setQuery } from "../../router";
import { LiveStream } from "../../stream";
import type { EvalRun } from "../run/evals.api";
import { Comparison } from "../run/evals.diff";
import "../run/evals.css";
import "./suites.css";

interface Suite {
  suiteId: string | null;
  name: string | null;
  runCount: number;
  runs: EvalRun[];
}

const SNIPPET = [
  'suite = rd.eval.suite("questions", dataset="squad:v2", scorers=["exact"])',
  'with suite.run(config={"prompt": "v3"}) as eval_run:',
  "    for example in examples:",
  '        eval_run.log_result(example.id, scores={"exact": answer(example) == example.truth})',
].join("\n");
const NO_SUITE = "none";

function suites(projectId: string): Promise<{ suites: Suite[]; page: Page }> {
  return get(`/api/v1/projects/${encodeURIComponent(projectId)}/evals?limit=1000&runs=100`);
}

/** The suites of a project, how their runs did one after another, and what changed between two. */
export function EvalsView({ place }: { place: Place }) {
  const found = useLoaded(async () => {
    const { projectId } = await findProject(place);
    return { projectId, suites: (await suites(projectId)).suites };
  }, [place.workspace, place.project]);
  useEffect(() => {
    document.title = `Evals · ${place.project} · Rundial`;
  }, [place.project]);
  const projectId = found.value?.projectId;
  const stream = useMemo(() => projectId === undefined ? null : new LiveStream({ projectId }, {
    run: () => undefined, points: () => undefined, more: (_, kinds) => kinds.includes("evals") && found.load(), resync: found.load,
  }), [projectId]);
  useEffect(() => () => stream?.close(), [stream]);
  const list = found.value?.suites.filter(({ runs }) => runs.length);
  const asked = route.value.query.get("suite");
  const open = list?.find(({ suiteId }) => (suiteId ?? NO_SUITE) === asked) ?? list?.[0];
  return (
    <>
      <Header place={place} stream={stream} />
      {found.error && <Failure error={found.error} retry={found.load} />}
      <main class="suites evals">
        {!found.value && !found.error && <p class="empty">Loading the evaluations …</p>}
        {list && !list.length && (
          <div class="empty">
            <p>No evaluation in this project yet. This logs one:</p>
            <Copyable text={SNIPPET} block />
          </div>
        )}
        {list && list.length > 1 && (
          <Tabs
            label="Suites" tabs={list.map((suite) => [suite.suiteId ?? NO_SUITE, suite.name ?? "no suite"])} now={open?.suiteId ?? NO_SUITE}
            onTab={(suite) => setQuery({ suite, eval: null, base: null, status: null }, true)}
          />
        )}
        {open && <OpenSuite key={open.suiteId} suite={open} projectId={found.value!.projectId} />}
      </main>
    </>
  );
}

function OpenSuite({ suite, projectId }: { suite: Suite; projectId: string }) {
  const query = route.value.query;
  // The server gives the newest first.
  const chosen = suite.runs.find(({ evalRunId }) => evalRunId === query.get("eval"));
  const base = suite.runs.find(({ evalRunId }) => evalRunId === query.get("base"));
  const scorers = [...new Set(suite.runs.flatMap(({ summary }) => Object.keys(summary)))];
  return (
    <>
      <div class="controls">
        <h1>{suite.name ?? "no suite"}</h1>
        <span class="muted">{count(suite.runCount, "run")}</span>
      </div>
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Eval runs">
        <table class="rows">
          <thead>
            <tr><th>Run</th><th>When</th>{scorers.map((name) => <th key={name} class="figure" colSpan={2}>{name}</th>)}<th /></tr>
          </thead>
          <tbody>
            {suite.runs.map((evalRun, place) => (
              <Row key={evalRun.evalRunId} evalRun={evalRun} before={suite.runs[place + 1]} scorers={scorers} chosen={evalRun === chosen} base={evalRun === base} />
            ))}
          </tbody>
        </table>
      </div>
      {chosen && base && (
        <section aria-label="What changed">
          <h2>What changed from {base.runName}, {dateTime(base.startedAtMs)}, to {chosen.runName}, {dateTime(chosen.startedAtMs)} <button onClick={() => setQuery({ eval: null, base: null, status: null }, true)}>close</button></h2>
          <Comparison key={`${base.evalRunId} ${chosen.evalRunId}`} projectId={projectId} base={base} chosen={chosen} more={0} />
        </section>
      )}
    </>
  );
}

interface RowProps {
  evalRun: EvalRun;
  before: EvalRun | undefined;
  scorers: readonly string[];
  chosen: boolean;
  base: boolean;
}

function Row({ evalRun, before, scorers, chosen, base }: RowProps) {
  return (
    <tr aria-current={chosen || base ? "true" : undefined}>
      <td><a href={`${link("runs", evalRun.runId)}?tab=evals&eval=${evalRun.evalRunId}`} title={evalRun.runName}>{evalRun.runName}</a> {evalRun.status === "running" && <span class="muted">running</span>}</td>
      <td class="muted" title={dateTime(evalRun.startedAtMs)}><Ago timeMs={evalRun.startedAtMs} /></td>
      {scorers.map((name) => <Scores key={name} evalRun={evalRun} before={before} scorer={name} />)}
      <td>
        {before && !chosen && <button aria-label={`What changed in ${evalRun.runName}`} onClick={() => setQuery({ eval: evalRun.evalRunId, base: before.evalRunId, status: null }, true)}>what changed</button>}
        {chosen && <span class="muted">now</span>}
        {base && <span class="muted">before</span>}
      </td>
    </tr>
  );
}

/** The mean or the share that passed, and how much it moved since the run before. */
function Scores({ evalRun, before, scorer }: { evalRun: EvalRun; before: EvalRun | undefined; scorer: string }) {
  const tally = evalRun.summary[scorer];
  const value = tally?.passRate ?? tally?.mean ?? null;
  if (!tally || value === null) return <><td class="figure">–</td><td /></>;
  const former = before?.summary[scorer];
  const judged = tally.passRate !== null;
  const old = judged ? former?.passRate ?? null : former?.mean ?? null;
  const delta = old === null ? 0 : value - old;
  const words = judged ? `${(100 * value).toFixed(1)} %` : number(value);
  const moved = judged ? `${(100 * Math.abs(delta)).toFixed(1)}` : number(Math.abs(delta));
  return (
    <>
      <td class="figure" title={`${tally.passed} of ${tally.judged} passed, mean ${tally.mean ?? "–"}, ${tally.count} results`}>{words}</td>
      <td class={`moved ${delta < 0 ? "regressed" : delta > 0 ? "improved" : ""}`}>{delta < 0 ? `▼ ${moved}` : delta > 0 ? `▲ ${moved}` : ""}</td>
    </>
  );
}
