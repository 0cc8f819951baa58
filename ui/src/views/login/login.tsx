import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ApiError, redeemLink, signedOut } from "../../api";
import { Copyable } from "../../parts/notice";
import { replaceRoute } from "../../router";

/** Takes a one-time login link, then forgets it. */
export function Login({ token }: { token: string }) {
  const error = useSignal<ApiError | null>(null);
  const enter = async () => {
    error.value = null;
    try {
      await redeemLink(token);
      signedOut.value = false;
      replaceRoute("#/");
    } catch (failure) {
      error.value = failure as ApiError;
    }
  };
  useEffect(() => void enter(), [token]);
  if (!error.value) return <main class="door"><p>Signing in …</p></main>;
  if (error.value.status === 0) {
    return <main class="door"><h1>No answer</h1><p>{error.value.message} {error.value.hint}</p><button onClick={enter}>Retry</button></main>;
  }
  return (
    <main class="door">
      <h1>This link does not work any more</h1>
      <p>A login link is good once and for five minutes. This prints a new one:</p>
      <Copyable text="rundial ui" block />
    </main>
  );
}

export function SignedOut() {
  return (
    <main class="door">
      <h1>You are signed out</h1>
      <p>Open the page with a fresh link. This prints one, on the machine the server runs on:</p>
      <Copyable text="rundial ui" block />
    </main>
  );
}
