/**
 * Whether the clock is right. More than five minutes off, and receivers refuse our webhooks as replayed (Standard
 * Webhooks), verifiers our DKIM signatures as made in the future (t=) or too old (x=), and we theirs.
 *
 * Nobody is asked for this alone unless --ntp names a server: systemd-timesyncd leaves a mark where it keeps the
 * clock (chrony leaves none that may be read), and the receivers' answers have a Date (RFC 9110 6.6.1).
 */

import { messageOf } from "../../base/errors.ts";
import { ASK_MS_MAX, type Check, type Say, type Subject } from "./check.ts";
import { askTime } from "./sntp.ts";
import type { Upkeep } from "./upkeep.ts";

const TIMESYNC_MARK = "/run/systemd/timesync/synchronized";
/** TOLERANCE_SECONDS of the signatures. */
const WRONG_MS = 5 * 60_000;
/** A Date has whole seconds, and the answer takes a few. */
const OFF_MS = 30_000;

function ago(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1000);
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

/** `differenceMs` is their clock less ours. */
function judge(differenceMs: number, by: string, { keepClock }: Upkeep, say: Say): void {
  const summary = `by ${by} the clock is ${ago(differenceMs)} ${differenceMs > 0 ? "slow" : "fast"}`;
  const off = Math.abs(differenceMs);
  if (off > WRONG_MS) {
    say.problem("difference", `${summary}: signatures of mail and webhooks are refused for that`, keepClock);
  } else if (off > OFF_MS) say.notice("difference", summary, keepClock);
  else say.ok("difference", `${by} has the same time`);
}

async function askServer({ resolver, clock, upkeep }: Subject, server: string, say: Say): Promise<void> {
  try {
    judge(await askTime(server, { resolver, clock, timeoutMs: ASK_MS_MAX }), server, upkeep, say);
  } catch (error) {
    say.unknown(
      "difference",
      `${server} does not tell the time: ${messageOf(error)}`,
      "name another with --ntp",
    );
  }
}

async function isKept(): Promise<boolean> {
  // No such mark, or not for us to see: another program may keep the clock.
  return await Deno.stat(TIMESYNC_MARK).then(() => true, () => false);
}

export const clockCheck: Check = {
  name: "clock",
  async run(subject, say) {
    const { wishes, receivers, upkeep } = subject;
    const kept = await isKept();
    if (kept) say.ok("kept", "systemd-timesyncd keeps the clock");
    if (wishes.ntp !== null) return await askServer(subject, wishes.ntp, say);
    const { items } = await receivers();
    const judged = items?.find(({ clockDifferenceMs }) => clockDifferenceMs !== null);
    if (judged) judge(judged.clockDifferenceMs!, judged.url, upkeep, say);
    else if (!kept) {
      const remedy = `${upkeep.clock}; \`gomail doctor --ntp SERVER\` asks a time server`;
      say.skipped("difference", "there is nothing to compare the clock with", remedy);
    }
  },
};
