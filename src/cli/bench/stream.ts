/** One stream of mails from its first to what became of its last: generator, measurement and follower together. */

import type { Clock } from "../../base/clock.ts";
import { generate, type Schedule } from "./generator.ts";
import { Measurement } from "./measurement.ts";
import type { Resources, StreamResult } from "./result.ts";
import { type ClientTarget, type OutgoingMail, SmtpClient } from "./smtp_client.ts";
import type { TlsWish } from "./tls_wish.ts";
import { Follower, type WhereaboutsSource } from "./whereabouts.ts";

export interface StreamPlan extends Schedule {
  /** Empty where there is only one. */
  name: string;
  target: ClientTarget;
  tls: TlsWish;
  helo: string;
  mail(index: number): OutgoingMail;
  /** Null: nobody can say when a mail is at the receiver. */
  source: WhereaboutsSource | null;
  /** How long to wait for what is still on its way when all is sent. */
  waitMs: number;
  lookMs?: number;
}

export interface StreamDeps {
  clock: Clock;
  signal: AbortSignal;
  /** Gets the measurement before it begins: for a progress bar. */
  begin?(measurement: Measurement): void;
  resources?(): Resources | null;
}

/** One reply; a mail of 24 MB among ten of them on a small host takes its time. */
const REPLY_TIMEOUT_MS = 60_000;

export async function runStream(plan: StreamPlan, deps: StreamDeps): Promise<StreamResult> {
  const { clock, signal } = deps;
  const measurement = new Measurement(plan.mails, plan.seconds);
  const follower = plan.source && new Follower(plan.source, measurement, clock, plan.lookMs);
  deps.begin?.(measurement);
  const open = () =>
    SmtpClient.open({
      ...plan.target,
      tls: plan.tls,
      helo: plan.helo,
      replyTimeoutMs: REPLY_TIMEOUT_MS,
      clock,
    });
  const stopped = await generate(plan, { clock, open, mail: plan.mail, measurement, signal });
  const remaining = await follower?.finish(plan.waitMs, signal) ?? null;
  return {
    name: plan.name,
    measurement,
    remaining,
    notMeasured: null,
    stopped: signal.aborted ? "interrupted" : stopped,
    resources: deps.resources?.() ?? null,
  };
}
