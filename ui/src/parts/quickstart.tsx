import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { may, me, meet } from "../me";
import { link } from "../router";
import { createKey } from "../views/settings/settings.api";
import { Refused, useAction } from "./ask";
import { Copyable } from "./notice";

const DEFAULT_WORKSPACE = "default-workspace";
const LOOPBACK = /^(localhost|127\..*|\[::1\])$/;
const SCOPES = ["metrics:write", "project:read", "stream:read"];

/** What logs the first run, to this server: the script, and what another machine needs to be let in. */
export function QuickStart({ workspace, project }: { workspace: string; project: string }) {
  useEffect(() => void meet(), []);
  const key = useSignal<string | null>(null);
  const { error, busy, act } = useAction();
  const there = workspace === DEFAULT_WORKSPACE ? "" : `, workspace=${JSON.stringify(workspace)}`;
  const script = [
    "import rundial as rd",
    "",
    `run = rd.init(project=${JSON.stringify(project)}${there})`,
    "for step in range(100):",
    '    run.log({"train/loss": 1 / (step + 1)})',
    "run.finish()",
  ].join("\n");
  const shell = `export RUNDIAL_ENDPOINT=${location.origin}\nexport RUNDIAL_API_KEY=${key.value ?? "rdk_…"}`;
  const make = () => void act(async () => {
    key.value = (await createKey({ workspace, project }, SCOPES, "first run", null)).apiKey;
  });
  const local = LOOPBACK.test(location.hostname);
  const access = (
    <>
      <p>{local ? "Where this server is not the local one, in a container or on another machine, say first where to:" : "On the machine that trains, say where to:"}</p>
      <Copyable text={shell} block />
      <p class="muted">
        {key.value ? "The key is not shown again. " : may("admin") && <><button disabled={busy.value} onClick={make}>Make a key</button> puts one in here; </>}
        {me.value && !may("admin") ? "An owner of the workspace makes the key for you." : <>keys are under <a class="act" href={link("p", workspace, project, "settings")}>settings</a>.</>}
      </p>
      <Refused error={error.value} />
    </>
  );
  return (
    <div class="empty quickstart">
      {!local && access}
      <p>{local ? "No runs yet. This logs the first one:" : "No runs yet. Then this logs the first one:"}</p>
      <Copyable text={script} block />
      {local && access}
    </div>
  );
}
