/**
 * The load itself: mails that are due at fixed times, over kept connections. The schedule does not wait for the
 * server (an open loop), so a server that is too slow is seen as such. Failure rules:
 *
 * - A connection that is refused or lost is opened again after a second; the mail it had counts as failed.
 * - Nothing is sent twice: this is about what a server does with one try.
 * - When the first mails are all refused for good, the run stops: it would only be knocking.
 * - What was due and could not be begun within the grace time after the end is counted as not sent.
 */

import type { Clock } from "../../base/clock.ts";
import { sleep } from "../../base/clock.ts";
import type { Measurement } from "./measurement.ts";
import { type OutgoingMail, type Reply, SmtpClient } from "./smtp_client.ts";

export interface GeneratorDeps {
  clock: Clock;
  open(): Promise<SmtpClient | Reply>;
  mail(index: number): OutgoingMail;
  measurement: Measurement;
  /** Ends it early: no new mail, answers under way are waited for. */
  signal: AbortSignal;
}

export interface Schedule {
  mails: number;
  /** 0: all at once. */
  seconds: number;
  connections: number;
}

const RECONNECT_MS = 1000;
const GRACE_MS = 30_000;
/** After it was ended early: what answers under way may take. */
const LAST_ANSWERS_MS = 5000;
const REFUSED_FIRST_MAX = 20;
const ID = /\b([0-7][0-9A-HJKMNP-TV-Z]{25})\b/;

/** Resolves when all is sent, or why it stopped before. */
export async function generate(schedule: Schedule, deps: GeneratorDeps): Promise<string | null> {
  const { clock, measurement, signal } = deps;
  const { mails, seconds, connections } = schedule;
  // The time to connect is measured, and is no part of the first mails' latency.
  const first = await Promise.all(Array.from({ length: connections }, () => connect(deps)));
  const startedAt = clock.monotonic();
  measurement.startedAtMs = startedAt;
  const endsAt = startedAt + seconds * 1000 + GRACE_MS;
  const stop = new AbortController();
  const ended = AbortSignal.any([stop.signal, signal]);
  const open = new Set<SmtpClient>();
  const patience = new AbortController();
  ended.addEventListener("abort", async () => {
    await sleep(clock, LAST_ANSWERS_MS, patience.signal);
    for (const client of open) client.destroy();
  }, { once: true });
  let next = 0;
  let stopped: string | null = null;

  const worker = async (given: SmtpClient | null) => {
    let client = given;
    while (!ended.aborted && next < mails && clock.monotonic() < endsAt) {
      if (client === null || client.isBroken) {
        await sleep(clock, RECONNECT_MS, ended);
        if (ended.aborted) break;
        client = await connect(deps);
        measurement.reconnects++;
        continue;
      }
      const index = next++;
      const dueAt = startedAt + (seconds * 1000 * index) / mails;
      const waitMs = dueAt - clock.monotonic();
      // Timers cut off parts of a millisecond, and would be early.
      if (waitMs > 0) await sleep(clock, Math.ceil(waitMs), ended);
      if (ended.aborted) break;
      if (waitMs > 0) measurement.late.record(clock.monotonic() - dueAt);
      open.add(client);
      const sent = await client.send(deps.mail(index));
      open.delete(client);
      const now = clock.monotonic();
      if (sent.code === 250) {
        measurement.accepted(ID.exec(sent.text)?.[1] ?? null, dueAt, now, sent.answerMs ?? 0);
      } else {
        measurement.turnedAway(sent.code, sent.text, now);
        const { endings } = measurement;
        if (endings.accepted === 0 && endings.refused >= REFUSED_FIRST_MAX) {
          stopped ??= `the first ${endings.refused} mails were all refused`;
          stop.abort();
        }
      }
    }
    await client?.close();
  };
  await Promise.all(first.map(worker));
  patience.abort();
  return stopped;
}

/** A connection, or null after the reason is noted. */
async function connect({ clock, open, measurement }: GeneratorDeps): Promise<SmtpClient | null> {
  const startedAt = clock.monotonic();
  const client = await open();
  if (client instanceof SmtpClient) {
    measurement.connected(clock.monotonic() - startedAt, client.tls);
    return client;
  }
  const text = `(at connect) ${client.text}`;
  measurement.refusedConnection(text);
  return null;
}
