import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import type { RunDetail } from "../../api";
import { dateTime, flattened, number, plain } from "../../format";
import { Copyable, Failure } from "../../parts/notice";
import { link, route, setQuery } from "../../router";
import { type EvalRun, type Result, results } from "./evals.api";
import "./evals.css";
import { Comparison } from "./evals.diff";
import { EvalModel, PagedRows } from "./evals.model";
import { List, Score } from "./evals.parts";
import type { RunModel } from "./model";

const SNIPPET = [
  'suite = rd.eval.suite("questions", dataset="squad:v2", scorers=["exact"])',
  'with suite.run(config={"prompt": "v3"}) as eval_run:',
  "    for example in examples:",
  '        eval_run.log_result(example.id, scores={"exact": answer(example) == example.truth})',
].join("\n");

/** The tab: one eval run of this run, its results, and what changed from another run of the suite. */
export function Evals({ run, model }: { run: RunDetail; model: RunModel }) {
  const evals = useMemo(() => new EvalModel(run.runId, run.projectId), [run.runId]);
  useEffect(() => () => evals.close(), [evals]);
  const more = model.more.value.evals ?? 0;
  useEffect(() => void evals.load(), [evals, more]);
  const own = evals.own.value;
  const failure = evals.error.value && <Failure error={evals.error.value} retry={() => void evals.load()} />;
  if (!own) return failure || <p class="empty">Loading the results …</p>;
  if (!own.length) return <Nothing />;
  const query = route.value.query;
  const chosen = own.find((one) => one.evalRunId === query.get("eval")) ?? own[0]!;
  const others = evals.others.value.filter((one) => one.suiteId === chosen.suiteId && one.evalRunId !== chosen.evalRunId);
  const base = others.find((one) => one.evalRunId === query.get("base"));
  return (
    <div class="evals">
      {failure}
      <div class="controls">
        <b class="suite" title={chosen.suiteId ?? ""}>{chosen.suiteName ?? "no suite"}</b>
        {own.length > 1 && <Choice label="eval run" name="eval" value={chosen.evalRunId} options={own.map(option)} />}
        <Choice
          label="compare with" name="base" value={base?.evalRunId ?? ""}
          options={[["", others.length ? "nothing" : "no other run of this suite"], ...others.map(option)]}
        />
        <ScorerChoice evalRun={chosen} />
        {!base && <FailedOnly />}
        {!base && <Find />}
      </div>
      <Sums evalRun={chosen} />
      {base
        ? <Comparison key={`${base.evalRunId} ${chosen.evalRunId}`} projectId={run.projectId} base={base} chosen={chosen} more={more} />
        : <Results key={chosen.evalRunId} run={run} chosen={chosen} more={more} />}
    </div>
  );
}

function option(evalRun: EvalRun): [string, string] {
  return [evalRun.evalRunId, `${evalRun.runName} · ${dateTime(evalRun.startedAtMs)}`];
}

function Nothing() {
  return (
    <div class="empty">
      <p>No evaluation yet. This logs one:</p>
      <Copyable text={SNIPPET} block />
    </div>
  );
}

function Choice({ label, name, value, options }: { label: string; name: string; value: string; options: [string, string][] }) {
  return (
    <label>
      {label}
      <select value={value} onChange={(event) => setQuery({ [name]: event.currentTarget.value, status: null }, true)}>
        {options.map(([id, words]) => <option key={id} value={id}>{words}</option>)}
      </select>
    </label>
  );
}

function ScorerChoice({ evalRun }: { evalRun: EvalRun }) {
  const names = Object.keys(evalRun.summary);
  if (names.length < 2) return null;
  const value = route.value.query.get("scorer") ?? "";
  return <Choice label="scorer" name="scorer" value={value} options={[["", "all"], ...names.map((name): [string, string] => [name, name])]} />;
}

function FailedOnly() {
  return (
    <label>
      <input
        type="checkbox" checked={route.value.query.get("failed") === "1"}
        onChange={(event) => setQuery({ failed: event.currentTarget.checked ? "1" : null }, true)}
      />
      failed only
    </label>
  );
}

function Find() {
  return (
    <input
      type="search" class="filter" placeholder="find an example  /" aria-label="find an example" data-filter=""
      value={route.value.query.get("q") ?? ""} onInput={(event) => setQuery({ q: event.currentTarget.value })}
    />
  );
}

/** What the scores amount to, and what was evaluated. */
function Sums({ evalRun }: { evalRun: EvalRun }) {
  const { name, version } = evalRun.dataset;
  return (
    <div class="sums">
      {Object.entries(evalRun.summary).map(([scorer, tally]) => (
        <span key={scorer} data-scorer={scorer}>
          {scorer} <b>{tally.mean === null ? "–" : number(tally.mean)}</b>
          {tally.passRate !== null && <span class="muted"> {percent(tally.passRate)} of {tally.judged.toLocaleString("en-US")} passed</span>}
          {tally.passRate === null && <span class="muted"> mean of {tally.count.toLocaleString("en-US")}</span>}
        </span>
      ))}
      {name && <span class="muted">dataset {name}{version && ` ${version}`}</span>}
      {flattened(evalRun.config).slice(0, 6).map(([key, value]) => <span key={key} class="muted">{key} {plain(value)}</span>)}
    </div>
  );
}

function percent(share: number): string {
  return `${(share * 100).toFixed(share > 0.999 && share < 1 ? 2 : 1).replace(/\.0+$/, "")} %`;
}

interface Example {
  id: string;
  results: Map<string, Result>;
}

function Results({ run, chosen, more }: { run: RunDetail; chosen: EvalRun; more: number }) {
  const query = route.value.query;
  const scorer = query.get("scorer");
  const [failedOnly, text] = [query.get("failed") === "1", query.get("q") ?? ""];
  const asked = { evalRunId: chosen.evalRunId, projectId: run.projectId, scorer, failedOnly, text };
  const list = useMemo(() => new PagedRows<Result>((cursor, limit) => results(asked, cursor, limit)), [JSON.stringify(asked)]);
  useEffect(() => () => list.close(), [list]);
  useEffect(() => void list.refresh(), [list, more]);
  const open = useSignal<string | null>(null);
  const examples = useMemo(() => byExample(list.rows.value ?? []), [list.rows.value]);
  const scorers = scorer ? [scorer] : Object.keys(chosen.summary);
  return (
    <List list={list} empty={failedOnly || text ? "No example matches." : "No results yet."}>
      <table class="rows">
        <thead>
          <tr><th>Example</th>{scorers.map((name) => <th key={name} class="figure scored">{name}</th>)}<th class="about-head" /></tr>
        </thead>
        <tbody>
          {examples.map((example) => <Row key={example.id} run={run} example={example} scorers={scorers} open={open} />)}
        </tbody>
      </table>
    </List>
  );
}

function byExample(rows: Result[]): Example[] {
  const examples: Example[] = [];
  for (const result of rows) {
    if (examples.at(-1)?.id !== result.exampleId) examples.push({ id: result.exampleId, results: new Map() });
    examples.at(-1)!.results.set(result.scorer, result);
  }
  return examples;
}

function Row({ run, example, scorers, open }: { run: RunDetail; example: Example; scorers: string[]; open: Signal<string | null> }) {
  const isOpen = open.value === example.id;
  return (
    <>
      <tr>
        <td class="name">
          <button class="example" aria-expanded={isOpen} title={example.id} onClick={() => (open.value = isOpen ? null : example.id)}>
            {example.id}
          </button>
        </td>
        {scorers.map((name) => {
          const result = example.results.get(name);
          return <td key={name} class="figure">{result ? <Score score={result.score} passed={result.passed} /> : ""}</td>;
        })}
        <td class="about-head"><TraceLink run={run} result={[...example.results.values()].find((result) => result.traceId)} /></td>
      </tr>
      {isOpen && <tr class="about"><td colSpan={scorers.length + 2}><About results={[...example.results.values()]} /></td></tr>}
    </>
  );
}

function TraceLink({ run, result }: { run: RunDetail; result: Result | undefined }) {
  if (!result?.traceId) return null;
  return <a href={`${link("runs", result.runId || run.runId)}?tab=traces&trace=${result.traceId}`}>trace</a>;
}

/** All that is known of one example. */
function About({ results }: { results: Result[] }) {
  return (
    <>
      {results.map((result) => (
        <dl key={result.scorer} class="facts">
          <dt>{result.scorer}</dt>
          <dd>{result.score} · {dateTime(result.timestampMs)}</dd>
          {flattened(result.meta).map(([key, value]) => <Fact key={key} name={key}>{plain(value)}</Fact>)}
          {result.evidenceRef && <Fact name="evidence">{plain(result.evidenceRef)}</Fact>}
        </dl>
      ))}
    </>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return <><dt>{name}</dt><dd class="long">{children}</dd></>;
}
