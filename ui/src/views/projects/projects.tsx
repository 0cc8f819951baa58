import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ApiError, type Project, projects, workspaces } from "../../api";
import { Header } from "../../parts/header";
import { Failure } from "../../parts/notice";
import { QuickStart } from "../../parts/quickstart";
import { Ago } from "../../parts/time";
import { link } from "../../router";

interface Row extends Project {
  workspace: string;
}

const REFRESH_MS = 10_000;

async function loadRows(): Promise<Row[]> {
  const lists = await Promise.all(
    (await workspaces()).map(async ({ workspaceSlug }) =>
      (await projects(workspaceSlug)).map((project) => ({ ...project, workspace: workspaceSlug })),
    ),
  );
  return lists.flat().sort((a, b) => (b.updatedAtMs ?? 0) - (a.updatedAtMs ?? 0));
}

export function ProjectsView() {
  const rows = useSignal<Row[] | null>(null);
  const error = useSignal<ApiError | null>(null);
  const load = async () => {
    try {
      rows.value = await loadRows();
      error.value = null;
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      error.value = failure;
    }
  };
  useEffect(() => {
    document.title = "Rundial";
    void load();
    const timer = setInterval(() => !document.hidden && void load(), REFRESH_MS);
    return () => clearInterval(timer);
  }, []);
  return (
    <>
      <Header />
      <main class="page">
        {error.value && <Failure error={error.value} retry={load} />}
        {rows.value ? <Projects rows={rows.value} /> : !error.value && <p class="muted">Loading projects …</p>}
      </main>
    </>
  );
}

function Projects({ rows }: { rows: Row[] }) {
  if (!rows.some((row) => row.runCount)) return <QuickStart workspace={rows[0]?.workspace ?? "default-workspace"} project={rows[0]?.projectSlug ?? "default-project"} />;
  const many = new Set(rows.map((row) => row.workspace)).size > 1;
  return (
    <table class="rows projects">
      <thead>
        <tr><th>Project</th><th class="figure">Runs</th><th class="figure">Running</th><th class="figure">Updated</th></tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.projectId}>
            <td class="name">
              <a href={link("p", row.workspace, row.projectSlug)} title={row.name}>
                {many && <span class="muted">{row.workspace} / </span>}{row.name || row.projectSlug}
              </a>
            </td>
            <td class="figure">{row.runCount.toLocaleString("en-US")}</td>
            <td class="figure">{row.runningCount ? <span class="status running">{row.runningCount}</span> : "–"}</td>
            <td class="figure muted">{row.updatedAtMs ? <Ago timeMs={row.updatedAtMs} /> : "–"}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
