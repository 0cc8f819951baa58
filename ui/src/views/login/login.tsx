import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ApiError, post, redeemLink, signedOut } from "../../api";
import { me, meet } from "../../me";
import { Refused, useAction } from "../../parts/ask";
import { Copyable, Said } from "../../parts/notice";
import { replaceRoute } from "../../router";

/** Takes a one-time login link, then forgets it. */
export function Login({ token }: { token: string }) {
  const error = useSignal<ApiError | null>(null);
  const enter = async () => {
    error.value = null;
    try {
      await redeemLink(token);
      signedOut.value = false;
      me.value = null;
      const who = await meet();
      // Whoever was invited has no other way back in.
      replaceRoute(who?.user && !who.user.hasPassword ? "#/settings" : "#/");
    } catch (failure) {
      if (!(failure instanceof ApiError)) throw failure;
      error.value = failure;
    }
  };
  useEffect(() => void enter(), [token]);
  if (!error.value) return <main class="door"><p>Signing in …</p></main>;
  if (error.value.status === 0) {
    return <main class="door"><h1>No answer</h1><p><Said error={error.value} /></p><button class="act" onClick={enter}>Retry</button></main>;
  }
  return (
    <main class="door">
      <b class="brand">rundial</b>
      <h1>This link does not work any more</h1>
      <p>A login link is good once, and not for long. An owner can make another, or this prints one, on the machine the server runs on:</p>
      <Copyable text="rundial ui" block />
    </main>
  );
}

export function SignedOut() {
  return (
    <main class="door">
      <b class="brand">rundial</b>
      <h1>You are signed out</h1>
      <Password />
      <p class="muted">Without a password: this prints a login link, on the machine the server runs on. An owner can make one for you, too.</p>
      <Copyable text="rundial ui" block />
    </main>
  );
}

function Password() {
  const email = useSignal("");
  const password = useSignal("");
  const { error, busy, act } = useAction();
  const submit = (event: Event) => {
    event.preventDefault();
    void act(async () => {
      await post("/api/v1/auth/login/credentials", { email: email.value.trim(), password: password.value });
      me.value = null;
      signedOut.value = false;
    });
  };
  return (
    <form class="login" aria-label="Sign in" onSubmit={submit}>
      <label>address <input type="email" required autocomplete="username" value={email.value} onInput={(event) => (email.value = event.currentTarget.value)} /></label>
      <label>password <input type="password" required autocomplete="current-password" value={password.value} onInput={(event) => (password.value = event.currentTarget.value)} /></label>
      <button class="act" type="submit" disabled={busy.value}>Sign in</button>
      <Refused error={error.value} />
    </form>
  );
}
