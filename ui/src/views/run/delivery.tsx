import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import type { Attempt, RunDetail } from "../../api";
import { plain } from "../../format";
import { Copyable } from "../../parts/notice";
import { Status } from "../../parts/status";
import { Ago, Lasted } from "../../parts/time";
import "./delivery.css";
import { type Account, accountOf } from "./delivery.model";

const VERDICTS: Record<Account["verdict"], { shape: string; words: string; meaning: string }> = {
  whole: { shape: "✓", words: "adds up", meaning: "Everything that was logged is here, or counted with its reason." },
  open: { shape: "●", words: "running", meaning: "The client gives its own account at its end." },
  short: { shape: "▲", words: "more to come", meaning: "The client logged more than is here. What waits on its machine is sent by rundial sync." },
  silent: { shape: "▲", words: "fell silent", meaning: "It ended without an account of its own. What it may have left on its machine is sent by rundial sync." },
};
/** Why records are dropped, in words; a reason that is not among them stands for itself. */
const REASONS: Record<string, string> = {
  queue_full: "the queue was full",
  spool_bytes: "the spool was full",
  spool_age: "older than the spool keeps",
  spool_lost: "lost from the disk",
  closed: "logged after the end",
  too_large: "larger than a record may be",
  device_busy: "the value was still on a busy device",
  rejected: "refused by the server",
};

/** The tab: for each stream what was logged, what arrived, and why anything did not. */
export function Delivery({ run }: { run: RunDetail }) {
  const accounts = useMemo(() => run.attempts.map((attempt) => ({ attempt, account: accountOf(attempt) })), [run.attempts]);
  const wrong = accounts.filter(({ account }) => account.verdict === "short" || account.verdict === "silent");
  const open = accounts.some(({ account }) => account.verdict === "open");
  const verdict = wrong.length ? wrong[0]!.account.verdict : open ? "open" : "whole";
  if (!accounts.length) return <p class="empty">No stream of this run has been heard of: it was made by plain requests, which keep no account.</p>;
  return (
    <div class="ledger">
      <p class={`ledger-verdict ${verdict}`}>
        <b>{VERDICTS[verdict].shape} {VERDICTS[verdict].words}</b> <span class="muted">{VERDICTS[verdict].meaning}</span>
      </p>
      <Sums accounts={accounts.map(({ account }) => account)} />
      <h2>Streams</h2>
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Streams">
        <table class="rows">
          <thead>
            <tr>
              <th>Stream</th><th>Status</th><th>Process</th><th class="figure">Rank</th><th class="figure">Time</th><th class="figure">Last heard</th>
              <th class="figure">Logged</th><th class="figure">Acknowledged</th><th class="figure">Pending</th><th class="figure">Duplicate</th>
              <th class="figure">Rejected</th><th class="figure">Dropped</th><th>Account</th>
            </tr>
          </thead>
          <tbody>{accounts.map(({ attempt, account }) => <Stream key={attempt.stream} attempt={attempt} account={account} />)}</tbody>
        </table>
      </div>
      <Reasons accounts={accounts} />
      {wrong.length > 0 && (
        <>
          <h2>To send what is left</h2>
          <p class="muted">On the machine of the run, in the folder it was started in:</p>
          <Copyable text="rundial sync" block />
        </>
      )}
      <p class="muted identity">
        logged = acknowledged + pending + rejected + dropped, each drop with its reason. <code>rundial verify {run.runId}</code> checks it too, with
        what still lies on the machine it runs on.
      </p>
    </div>
  );
}

function total(accounts: Account[], amount: (account: Account) => number | null): number | null {
  const amounts = accounts.map(amount);
  return amounts.includes(null) ? null : amounts.reduce((sum: number, each) => sum + each!, 0);
}

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((all, amount) => all + amount, 0);

function Sums({ accounts }: { accounts: Account[] }) {
  return (
    <dl class="sums">
      <Sum name="logged" value={total(accounts, (account) => account.logged)} unknown="told at the end" />
      <Sum name="acknowledged" value={total(accounts, (account) => account.acknowledged)} />
      <Sum name="pending" value={total(accounts, (account) => account.pending)} unknown="told at the end" warn />
      <Sum name="duplicate" value={total(accounts, (account) => account.duplicate)} />
      <Sum name="rejected" value={total(accounts, (account) => sum(account.rejected))} warn />
      <Sum name="dropped" value={total(accounts, (account) => sum(account.dropped))} warn />
    </dl>
  );
}

function Sum({ name, value, unknown, warn }: { name: string; value: number | null; unknown?: string; warn?: boolean }) {
  return (
    <div class={warn && value ? "lost" : ""}>
      <dt>{name}</dt>
      <dd>{value === null ? <span class="muted">{unknown}</span> : value.toLocaleString("en-US")}</dd>
    </div>
  );
}

function Stream({ attempt, account }: { attempt: Attempt; account: Account }) {
  const { shape, words, meaning } = VERDICTS[account.verdict];
  const end = attempt.endedAtMs ?? (attempt.status === "running" ? null : attempt.lastSeenMs);
  return (
    <tr title={plain(attempt.system)}>
      <td class="code" title={attempt.stream}>{attempt.stream.slice(0, 8)}</td>
      <td><Status status={attempt.status} /></td>
      <td class="code">{attempt.host || "–"}{attempt.pid ? `:${attempt.pid}` : ""}</td>
      <td class="figure">{attempt.rank}</td>
      <td class="figure"><Lasted startMs={attempt.startedAtMs} endMs={end} /></td>
      <td class="figure"><Ago timeMs={attempt.lastSeenMs} /></td>
      <Amount>{account.logged}</Amount>
      <Amount>{account.acknowledged}</Amount>
      <Amount warn>{account.pending}</Amount>
      <Amount>{account.duplicate}</Amount>
      <Amount warn>{sum(account.rejected)}</Amount>
      <Amount warn>{sum(account.dropped)}</Amount>
      <td class={`verdict ${account.verdict}`} title={meaning}>{shape} {words}</td>
    </tr>
  );
}

function Amount({ children, warn }: { children: number | null; warn?: boolean }): ComponentChildren {
  return <td class={warn && children ? "figure lost" : "figure"}>{children === null ? "–" : children.toLocaleString("en-US")}</td>;
}

/** Every reason for which anything is not here. */
function Reasons({ accounts }: { accounts: { attempt: Attempt; account: Account }[] }) {
  const rows = accounts.flatMap(({ attempt, account }) => [
    ...Object.entries(account.rejected).map(([reason, amount]) => ({ attempt, what: "rejected", reason, amount })),
    ...Object.entries(account.dropped).map(([reason, amount]) => ({ attempt, what: "dropped", reason, amount })),
  ]).filter(({ amount }) => amount > 0);
  if (!rows.length) return null;
  return (
    <>
      <h2>Reasons</h2>
      <table class="rows reasons">
        <tbody>
          {rows.map(({ attempt, what, reason, amount }) => (
            <tr key={`${attempt.stream} ${what} ${reason}`}>
              <td class="code" title={attempt.stream}>{attempt.stream.slice(0, 8)}</td>
              <td class="figure lost">{amount.toLocaleString("en-US")}</td>
              <td>{what}</td>
              <td class="code">{reason}</td>
              <td class="muted">{REASONS[reason] ?? ""}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}
