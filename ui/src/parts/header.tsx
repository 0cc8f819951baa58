import type { ComponentChildren } from "preact";
import { clock } from "../format";
import { link, route } from "../router";
import type { LiveStream } from "../stream";
import { helpOpen } from "./help";

interface HeaderProps {
  /** Where we are: workspace and project. */
  place?: { workspace: string; project: string };
  stream?: LiveStream | null;
  children?: ComponentChildren;
}

/** The line at the top of every view. */
export function Header({ place, stream, children }: HeaderProps) {
  return (
    <header class="top">
      <a class="brand" href="#/">rundial</a>
      {place && (
        <a class="place" href={link("p", place.workspace, place.project)} title={`${place.workspace} / ${place.project}`}>
          <span class="workspace">{place.workspace} / </span>{place.project}
        </a>
      )}
      {place && <Places place={place} />}
      {children}
      <span class="space" />
      {stream && <LiveDot stream={stream} />}
      {!place && <a class="quiet" href="#/settings" aria-current={route.value.path[0] === "settings" ? "page" : undefined}>settings</a>}
      <button class="quiet" aria-label="Keys" title="Keys (?)" onClick={() => (helpOpen.value = true)}>?</button>
    </header>
  );
}

const PLACES = ["runs", "media", "alerts", "sweeps", "evals", "settings"];

/** The views of a project. */
function Places({ place: { workspace, project } }: { place: { workspace: string; project: string } }) {
  const [head, , , view] = route.value.path;
  return (
    <nav class="places" aria-label="Project">
      {PLACES.map((name) => {
        const here = head === "p" && (view ?? "runs") === name;
        return <a key={name} href={name === "runs" ? link("p", workspace, project) : link("p", workspace, project, name)} aria-current={here ? "page" : undefined}>{name}</a>;
      })}
    </nav>
  );
}

function LiveDot({ stream }: { stream: LiveStream }) {
  const { open, since } = stream.state.value;
  if (open) return <span class="live" title="New points appear as they arrive"><i />live</span>;
  return <span class="live stale" title="Trying to reach the server again"><i />not live since {clock(since)}</span>;
}
