import { Fragment } from "preact";
import { dateTime, plain } from "../../format";
import { Copyable } from "../../parts/notice";
import { metricOf, otherConfig, type Parameter, parametersOf, type Sweep } from "./sweeps.model";

const WORDS: Record<string, string> = {
  early_terminate: "Early termination", program: "Program", command: "Command", run_cap: "At most", project: "Project", entity: "Entity",
  controller: "Controller",
};

/** What was asked for, so that one can read it. */
export function Config({ sweep }: { sweep: Sweep }) {
  const { record } = sweep;
  if (!record) return <p class="muted">Nobody has told what this sweep is: its runs carry its id and nothing else.</p>;
  const metric = metricOf(sweep);
  const parameters = parametersOf(sweep);
  const description = record.config.description;
  return (
    <>
      <dl class="facts">
        {typeof description === "string" && description && <><dt>For</dt><dd>{description}</dd></>}
        <dt>Method</dt><dd>{record.method || "–"}</dd>
        <dt>Metric</dt><dd>{metric ? `${metric.goal} ${metric.name}` : "–"}</dd>
        {otherConfig(sweep).map(([name, value]) => (
          <Fragment key={name}><dt>{WORDS[name] ?? name}</dt><dd>{Array.isArray(value) ? value.map(plain).join(" ") : words(value)}{name === "run_cap" && " runs"}</dd></Fragment>
        ))}
        <dt>Made</dt><dd>{dateTime(record.createdAtMs)}{record.author && ` by ${record.author}`}</dd>
        <dt>Id</dt><dd class="code">{sweep.id}</dd>
      </dl>
      {parameters.length > 0 && (
        <div class="scroll-x" tabIndex={0} role="group" aria-label="Parameters of the sweep">
          <table class="rows ranges">
            <thead><tr><th>Parameter</th><th>Distribution</th><th>What it may be</th></tr></thead>
            <tbody>
              {parameters.map((parameter) => (
                <tr key={parameter.field}><th scope="row">{parameter.words}</th><td class="muted">{distribution(parameter)}</td><td class="code">{range(parameter)}</td></tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      <details><summary>As it was given</summary><Copyable text={JSON.stringify(record.config, null, 2)} block /></details>
    </>
  );
}

/** `type: hyperband, min_iter: 3` of a mapping. */
function words(value: unknown): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return plain(value);
  return Object.entries(value).map(([name, inner]) => `${name}: ${plain(inner)}`).join(", ");
}

function distribution({ about }: Parameter): string {
  if ("value" in about) return "constant";
  if (Array.isArray(about.values)) return about.probabilities ? "choice, weighted" : "choice";
  const whole = Number.isInteger(about.min) && Number.isInteger(about.max);
  return String(about.distribution ?? (whole ? "int_uniform" : "uniform")).replace(/_values$/, "").replaceAll("_", " ");
}

function range({ about }: Parameter): string {
  if ("value" in about) return plain(about.value);
  if (Array.isArray(about.values)) {
    const weights = Array.isArray(about.probabilities) ? about.probabilities : [];
    return about.values.map((value, place) => plain(value) + (place in weights ? ` (${plain(weights[place])})` : "")).join(", ");
  }
  const ends = about.min !== undefined && about.max !== undefined ? `${plain(about.min)} to ${plain(about.max)}` : "";
  const more = Object.entries(about).filter(([name]) => !["min", "max", "distribution"].includes(name)).map(([name, value]) => `${name} ${plain(value)}`);
  return [ends, ...more].filter(Boolean).join(", ") || "–";
}
