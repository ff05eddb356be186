/** What the daemon says of itself over its control socket, in a form that several checks use. */

import { messageOf } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import { type Invocation, UnaskedError } from "../command.ts";
import { onDaemon } from "../context.ts";
import type { Upkeep } from "./upkeep.ts";

/** Less than a check has: those that ask the daemon for more shall say that it is silent. */
const ANSWER_MS_MAX = 4000;

export interface Health {
  version: string;
  /** Seconds. */
  uptime: number;
  checks: Record<string, { status: string; detail: string } | undefined>;
}

/** Its health, or why there is none; `isAsked` is false where this user could not ask. */
export type DaemonAnswer = { health: Health } | { health: null; reason: string; isAsked: boolean };

/** What to type where its answer is missing. */
export function remedyFor(answer: DaemonAnswer, { start, lookAsOwner }: Upkeep): string {
  const isAsked = answer.health !== null || answer.isAsked;
  return isAsked ? start : `${lookAsOwner}, with the config that the daemon has`;
}

const text = (value: unknown) => typeof value === "string" ? printable(value.slice(0, 500)) : "";

/** Another version may answer: nothing in it is taken for granted. */
function readHealth(answer: unknown): Health {
  const { version, uptime, checks } = Object(answer) as Record<string, unknown>;
  const entries = Object.entries(Object(checks) as Record<string, unknown>).map(([name, check]) => {
    const { status, detail } = Object(check) as Record<string, unknown>;
    return [printable(name), { status: text(status), detail: text(detail) }];
  });
  return { version: text(version), uptime: Number(uptime) || 0, checks: Object.fromEntries(entries) };
}

/** An unhealthy daemon answers 503, with the very checks that are wanted. */
export async function askDaemon(invocation: Invocation, signal: AbortSignal): Promise<DaemonAnswer> {
  const late = AbortSignal.timeout(ANSWER_MS_MAX);
  try {
    const options = { signal: AbortSignal.any([signal, late]), alsoTakes: [503] };
    const answer = await onDaemon(invocation, (client) => client.request("GET", "/health", options));
    return { health: readHealth(answer) };
  } catch (error) {
    const isLate = late.aborted && !signal.aborted;
    const reason = `Cannot talk to the daemon: no answer within ${ANSWER_MS_MAX / 1000} s`;
    return {
      health: null,
      reason: isLate ? reason : messageOf(error),
      isAsked: !(error instanceof UnaskedError),
    };
  }
}
