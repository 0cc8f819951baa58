import { signedOut } from "./api";
import { Header } from "./parts/header";
import { Help } from "./parts/help";
import { route } from "./router";
import { AlertsView } from "./views/alerts/alerts";
import { CompareView } from "./views/compare/compare";
import { EvalsView } from "./views/evals/evals";
import { Login, SignedOut } from "./views/login/login";
import { ProjectMedia } from "./views/media/media";
import { ProjectsView } from "./views/projects/projects";
import { RunView } from "./views/run/run";
import { ProjectView } from "./views/runs/runs";
import { ProjectSettings, Settings } from "./views/settings/settings";
import { SweepsView } from "./views/sweeps/sweeps";

export function App() {
  return (
    <>
      <View />
      <Help />
    </>
  );
}

function View() {
  const [head, first, second, third] = route.value.path;
  if (head === "login" && first) return <Login key={first} token={first} />;
  if (signedOut.value) return <SignedOut />;
  if (head === undefined) return <ProjectsView />;
  // The key makes another project or run a new view: nothing of the old one can shine through.
  if (head === "p" && first && second && third === "compare") return <CompareView workspace={first} project={second} />;
  if (head === "p" && first && second) {
    const place = { workspace: first, project: second };
    const key = `${first}/${second}`;
    if (third === undefined) return <ProjectView key={key} workspace={first} project={second} />;
    if (third === "media") return <ProjectMedia key={key} place={place} />;
    if (third === "alerts") return <AlertsView key={key} place={place} />;
    if (third === "sweeps") return <SweepsView key={key} place={place} />;
    if (third === "evals") return <EvalsView key={key} place={place} />;
    if (third === "settings") return <ProjectSettings key={key} place={place} />;
  }
  if (head === "settings") return <Settings />;
  if (head === "runs" && first) return <RunView key={first} runId={first} />;
  return (
    <>
      <Header />
      <main class="page"><p class="empty">There is nothing at this address. <a href="#/">All projects</a></p></main>
    </>
  );
}
