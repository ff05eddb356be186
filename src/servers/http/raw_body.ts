/**
 * A message/rfc822 body, streamed into the spool: the whole message is never in memory. Shared by mail that
 * comes in and mail that goes out.
 */

import { type Refusal, refuse } from "../../base/errors.ts";
import type { Spooled, SpoolWriter } from "../../store/types.ts";
import { limitsOf, readBody } from "./body.ts";
import { Intake, isRefusal } from "./intake.ts";
import { refused } from "./problem.ts";
import type { ApiContext, HttpDeps, Problem } from "./types.ts";

/** Tells of a refusal made at the door. */
export type TurnAway = (refusal: Refusal) => Problem;

/** The message, spooled; with a problem nothing stays behind. `watch` sees each piece as it was sent. */
export async function takeRaw(
  c: ApiContext,
  deps: HttpDeps,
  writer: SpoolWriter,
  turnAway: TurnAway,
  watch: (chunk: Uint8Array) => void = () => {},
): Promise<Spooled | Problem> {
  const bytesMax = deps.config().max_message_size;
  const intake = new Intake(writer, bytesMax);
  const found: { refusal: Refusal | null } = { refusal: null };
  const stop = (refusal: Refusal | null): Problem | null => {
    found.refusal = refusal;
    return refusal && refused(refusal);
  };
  try {
    const problem = await readBody(c, limitsOf(c, deps, bytesMax), (chunk) => {
      watch(chunk);
      const result = intake.write(chunk);
      return result instanceof Promise ? result.then(stop) : stop(result);
    });
    if (found.refusal) return turnAway(await intake.abandon(found.refusal));
    if (problem) {
      const refusal = await intake.abandon(refuse("message_too_large"));
      return problem.problem === "payload_too_large" ? turnAway(refusal) : problem;
    }
    return await finishIntake(c, intake, turnAway);
  } catch (error) {
    c.get("log").error("Mail could not be spooled", { error });
    return turnAway(await intake.abandon(error));
  }
}

/** What was taken in, unless its sender has been told meanwhile that it took too long. */
export async function finishIntake(
  c: ApiContext,
  intake: Intake,
  turnAway: TurnAway,
): Promise<Spooled | Problem> {
  const spooled = await intake.finish();
  if (isRefusal(spooled)) return turnAway(await intake.abandon(spooled));
  // Nobody waits for the answer any more: what is not stored yet is not stored.
  if (!c.get("signal").aborted) return spooled;
  await spooled.discard();
  return turnAway(refuse("internal"));
}
