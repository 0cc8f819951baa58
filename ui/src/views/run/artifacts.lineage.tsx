import { useEffect } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { ApiError } from "../../api";
import { runColor } from "../../colors";
import { link, setQuery } from "../../router";
import { type LineageRun, type RunArtifact, runArtifacts, type WholeArtifact } from "./artifacts.api";

/** Runs on either side whose own artifacts are asked for. */
const ASKED = 8;
const SHOWN = 12;

interface Around {
  /** What the runs that made the artifact had used. */
  inputs: RunArtifact[];
  /** What the runs that used it have made. */
  outputs: RunArtifact[];
}

/** Inputs → the run that made it → the artifact → the runs that used it → what they made of it. */
export function Lineage({ artifact }: { artifact: WholeArtifact }) {
  const around = useSignal<Around>({ inputs: [], outputs: [] });
  const ids = [...artifact.madeBy, { runId: "|" }, ...artifact.usedBy].map(({ runId }) => runId).join();
  useEffect(() => {
    let late = false;
    void neighbours(artifact).then((found) => {
      if (!late) around.value = found;
    });
    return () => {
      late = true;
    };
  }, [artifact.artifactId, ids]);
  const { inputs, outputs } = around.value;
  return (
    <div class="scroll-x" tabIndex={0} role="group" aria-label="Lineage">
      <div class="lineage">
        {inputs.length > 0 && <><Artifacts artifacts={inputs} label="made from" /><i aria-hidden="true" /></>}
        <Runs runs={artifact.madeBy} label="made by" />
        <i aria-hidden="true" />
        <b>{artifact.name}:v{artifact.version}</b>
        <i aria-hidden="true" />
        <Runs runs={artifact.usedBy} label="used by" />
        {outputs.length > 0 && <><i aria-hidden="true" /><Artifacts artifacts={outputs} label="became" /></>}
      </div>
    </div>
  );
}

async function neighbours(artifact: WholeArtifact): Promise<Around> {
  const of = async (runs: readonly LineageRun[], role: RunArtifact["role"]) => {
    const found = new Map<string, RunArtifact>();
    for (const { runId } of runs.slice(0, ASKED)) {
      try {
        for (const one of (await runArtifacts(runId, null)).artifacts) {
          if (one.role === role && one.artifactId !== artifact.artifactId) found.set(one.artifactId, one);
        }
      } catch (error) {
        // A run that is gone, or a server that is away: the nearest links are shown without it.
        if (!(error instanceof ApiError)) throw error;
      }
    }
    return [...found.values()];
  };
  return { inputs: await of(artifact.madeBy, "used"), outputs: await of(artifact.usedBy, "made") };
}

function Runs({ runs, label }: { runs: LineageRun[]; label: string }) {
  return (
    <ul aria-label={label}>
      <li class="muted">{runs.length ? label : `${label} no run`}</li>
      {runs.map((run) => (
        <li key={run.runId}>
          <i class="swatch" style={{ background: runColor(run.runId) }} aria-hidden="true" />
          <a href={`${link("runs", run.runId)}?tab=artifacts`} title={run.runId}>{run.runName}</a>
        </li>
      ))}
    </ul>
  );
}

function Artifacts({ artifacts, label }: { artifacts: RunArtifact[]; label: string }) {
  return (
    <ul aria-label={label}>
      <li class="muted">{label}</li>
      {artifacts.slice(0, SHOWN).map((one) => (
        <li key={one.artifactId}><button title={`${one.name}:v${one.version}`} onClick={() => setQuery({ artifact: one.artifactId }, true)}>{one.name}:v{one.version}</button></li>
      ))}
      {artifacts.length > SHOWN && <li class="muted">and {artifacts.length - SHOWN} more</li>}
    </ul>
  );
}
