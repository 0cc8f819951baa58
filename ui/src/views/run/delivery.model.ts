// The account of a stream: what was logged, and what became of it.
import type { Attempt } from "../../api";

/** The ledger counts what came before it; the ledger itself and the end of the stream come on top. */
const OWN_RECORDS = 2;
/** Reasons of a ledger whose records have a place in the sequence; the others were refused before they got one. */
const IN_SEQUENCE = new Set(["spool_bytes", "spool_age", "rejected", "spool_lost"]);

export interface Account {
  /** What the client says it logged; null until it has, which it does at its end. */
  logged: number | null;
  acknowledged: number;
  duplicate: number;
  /** Known to have been logged and not here yet; null while nobody has said how much there is. */
  pending: number | null;
  rejected: Record<string, number>;
  dropped: Record<string, number>;
  /** `whole`: it adds up; `open`: the client goes on; `short`: something that was logged is not here; `silent`: it ended without an account. */
  verdict: "whole" | "open" | "short" | "silent";
}

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((total, amount) => total + amount, 0);

export function accountOf(attempt: Attempt): Account {
  const told = attempt.ledger;
  const dropped = { ...attempt.dropped };
  for (const [reason, amount] of Object.entries(told?.dropped ?? {})) dropped[reason] = Math.max(dropped[reason] ?? 0, amount);
  const rejected = sum(attempt.rejected);
  // The client was told of them, and counts them as well.
  if (rejected) delete dropped.rejected;
  // The server takes a stream only in sequence: all three together are the next number it expects.
  const following = attempt.received + rejected + sum(attempt.dropped);
  const common = { duplicate: attempt.duplicate, rejected: attempt.rejected, dropped };
  const logged = attempt.logged;
  if (logged === null) {
    const verdict = attempt.status === "running" ? "open" : attempt.endedAtMs !== null ? "whole" : "silent";
    return { ...common, logged, acknowledged: attempt.received, pending: null, verdict };
  }
  const refused = Object.entries(told?.dropped ?? {}).reduce((total, [reason, amount]) => total + (IN_SEQUENCE.has(reason) ? 0 : amount), 0);
  const pending = Math.max(0, logged - refused + OWN_RECORDS - following);
  const acknowledged = Math.max(0, Math.min(logged, attempt.received - OWN_RECORDS));
  return { ...common, logged, acknowledged, pending, verdict: pending ? "short" : "whole" };
}
