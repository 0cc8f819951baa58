import { signedOut } from "./api";
import { Header } from "./parts/header";
import { Help } from "./parts/help";
import { route } from "./router";
import { CompareView } from "./views/compare/compare";
import { Login, SignedOut } from "./views/login/login";
import { ProjectsView } from "./views/projects/projects";
import { RunView } from "./views/run/run";
import { ProjectView } from "./views/runs/runs";

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
  if (head === "p" && first && second) return <ProjectView key={`${first}/${second}`} workspace={first} project={second} />;
  if (head === "runs" && first) return <RunView key={first} runId={first} />;
  return (
    <>
      <Header />
      <main class="page"><p class="empty">There is nothing at this address. <a href="#/">All projects</a></p></main>
    </>
  );
}
