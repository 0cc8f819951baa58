import { useSignal } from "@preact/signals";
import { dateTime } from "../../format";
import { me, type User } from "../../me";
import { Refused, Sure, useAction } from "../../parts/ask";
import { useLoaded } from "../../parts/loaded";
import { Copyable, Failure } from "../../parts/notice";
import { Ago } from "../../parts/time";
import { changeRole, createUser, type Invitation, inviteAgain, removeUser, users } from "./settings.api";

const ROLES: [role: User["role"], meaning: string][] = [
  ["owner", "everything"],
  ["member", "everything but users, keys and agents"],
  ["viewer", "looks"],
];

/** The people of a workspace. */
export function Members({ workspace }: { workspace: string }) {
  const list = useLoaded(() => users(workspace), [workspace]);
  const link = useSignal<Invitation | null>(null);
  const { error, act } = useAction();
  const present = list.value?.filter((user) => user.status === "active");
  const change = (what: () => Promise<unknown>) => void act(async () => {
    await what();
    list.load();
  });
  return (
    <section aria-label="Members">
      <h2>Members</h2>
      {list.error && <Failure error={list.error} retry={list.load} />}
      {!present && !list.error && <p class="muted">Loading the members …</p>}
      {present && !present.length && (
        <p class="empty">Nobody has an account yet: whoever is here came in with the owner's key. Make an account for yourself, as owner, and for those who work with you.</p>
      )}
      <Refused error={error.value} />
      {link.value && <Link invitation={link.value} close={() => (link.value = null)} />}
      {present && present.length > 0 && (
        <div class="scroll-x" tabIndex={0} role="group" aria-label="Members">
          <table class="rows">
            <thead><tr><th>Address</th><th>Name</th><th>Role</th><th>Password</th><th>Since</th><th /></tr></thead>
            <tbody>
              {present.map((user) => (
                <tr key={user.userId}>
                  <td>{user.email}{me.value?.user?.userId === user.userId && <span class="muted"> you</span>}</td>
                  <td>{user.name || "–"}</td>
                  <td>
                    <select aria-label={`Role of ${user.email}`} value={user.role} onChange={(event) => { const role = event.currentTarget.value; change(() => changeRole(workspace, user.userId, role)); }}>
                      {ROLES.map(([role, meaning]) => <option key={role} value={role} title={meaning}>{role}</option>)}
                    </select>
                  </td>
                  <td>{user.hasPassword ? "set" : <span class="muted">not yet</span>}</td>
                  <td><Ago timeMs={user.createdAtMs} /></td>
                  <td>
                    <button aria-label={`Login link for ${user.email}`} onClick={() => change(async () => (link.value = await inviteAgain(workspace, user.userId)))}>login link</button>
                    <Sure words="remove" label={`Remove ${user.email}`} act={() => change(() => removeUser(workspace, user.userId))} />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {list.value && <Invite workspace={workspace} first={!present!.length} made={(invitation) => { link.value = invitation; list.load(); }} />}
    </section>
  );
}

function Link({ invitation, close }: { invitation: Invitation; close(): void }) {
  return (
    <div class="once" role="status">
      <p><b>A login link for {invitation.user.email}.</b> It is good once, until {dateTime(invitation.expiresAtMs)}, and not shown again. Whoever opens it is signed in and sets a password.</p>
      <Copyable text={invitation.url} block />
      <button onClick={close}>I have sent it</button>
    </div>
  );
}

function Invite({ workspace, first, made }: { workspace: string; first: boolean; made(invitation: Invitation): void }) {
  const email = useSignal("");
  const name = useSignal("");
  const role = useSignal<string>(first ? "owner" : "member");
  const { error, busy, act } = useAction();
  const submit = (event: Event) => {
    event.preventDefault();
    void act(async () => {
      made(await createUser(workspace, email.value.trim(), name.value.trim(), role.value));
      email.value = name.value = "";
      role.value = "member";
    });
  };
  return (
    <form class="settings-form" aria-label="A new member" onSubmit={submit}>
      <h3>A new member</h3>
      <p class="fields">
        <label>address <input type="email" required value={email.value} placeholder="ann@example.org" onInput={(event) => (email.value = event.currentTarget.value)} /></label>
        <label>name <input type="text" value={name.value} maxLength={200} onInput={(event) => (name.value = event.currentTarget.value)} /></label>
        <label>
          role
          <select value={role.value} onChange={(event) => (role.value = event.currentTarget.value)}>
            {ROLES.map(([value, meaning]) => <option key={value} value={value}>{value}: {meaning}</option>)}
          </select>
        </label>
      </p>
      <Refused error={error.value} />
      <button class="act" type="submit" disabled={busy.value}>Make a login link</button>
    </form>
  );
}
