import { useSignal } from "@preact/signals";
import { signedOut } from "../../api";
import { me, meet, type User } from "../../me";
import { Refused, useAction } from "../../parts/ask";
import { replaceRoute } from "../../router";
import { logOut, setPassword } from "./settings.api";

/** Who is signed in; a user's password; the way out. */
export function Account() {
  const { error, busy, act } = useAction();
  const who = me.value;
  if (!who) return <p class="muted">Loading the account …</p>;
  const leave = () => void act(async () => {
    await logOut();
    me.value = null;
    signedOut.value = true;
    replaceRoute("#/");
  });
  return (
    <section aria-label="Account">
      <h2>Account</h2>
      <dl class="facts">
        <dt>Signed in as</dt>
        <dd>{who.user ? <>{who.user.name && `${who.user.name}, `}{who.user.email}</> : <>the key <b>{who.label || "without a name"}</b></>}</dd>
        <dt>Workspace</dt><dd>{who.workspaceSlug}</dd>
        {who.user && <><dt>Role</dt><dd>{who.user.role}</dd></>}
        <dt>May</dt><dd class="code">{who.scopes.join(" ")}</dd>
      </dl>
      <Refused error={error.value} />
      <button class="act" disabled={busy.value} onClick={leave}>Log out</button>
      {who.user && <Password user={who.user} />}
    </section>
  );
}

function Password({ user }: { user: User }) {
  const current = useSignal("");
  const password = useSignal("");
  const done = useSignal(false);
  const { error, busy, act } = useAction();
  const submit = (event: Event) => {
    event.preventDefault();
    done.value = false;
    void act(async () => {
      await setPassword(password.value, user.hasPassword ? current.value : null);
      current.value = password.value = "";
      done.value = true;
      await meet(true);
    });
  };
  return (
    <form class="settings-form" aria-label="Password" onSubmit={submit}>
      <h3>{user.hasPassword ? "Another password" : "Set a password"}</h3>
      {!user.hasPassword && <p class="muted">The login link was good once. With a password you come in again.</p>}
      <p class="fields">
        <input type="email" class="hidden-text" autocomplete="username" value={user.email} readOnly tabIndex={-1} aria-hidden="true" />
        {user.hasPassword && <label>the present one <input type="password" required autocomplete="current-password" value={current.value} onInput={(event) => (current.value = event.currentTarget.value)} /></label>}
        <label>the new one <input type="password" required minLength={10} autocomplete="new-password" value={password.value} onInput={(event) => (password.value = event.currentTarget.value)} /></label>
        <button class="act" type="submit" disabled={busy.value}>Set it</button>
      </p>
      <p class="muted">Ten characters or more. Your other sessions end.</p>
      <Refused error={error.value} />
      {done.value && <p role="status">The password is set.</p>}
    </form>
  );
}
