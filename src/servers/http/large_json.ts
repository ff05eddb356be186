/**
 * A JSON body that may hold mail. A small one goes straight through; a large one, or one of a length not told,
 * is parked in the spool first and read when its turn comes (turnstile.ts), so that of all large ones, whatever
 * route they are for, one is in memory at a time.
 */

import type { ZodType } from "zod";
import { type Refusal, refusalOf, refuse } from "../../base/errors.ts";
import type { Spooled, SpoolWriter } from "../../store/types.ts";
import { checkJson, declaredLength, readJson } from "./body.ts";
import { parkBody, parkedText } from "./parked_body.ts";
import { isProblem } from "./problem.ts";
import type { Turnstile } from "./turnstile.ts";
import type { ApiContext, HttpDeps, Problem } from "./types.ts";

/** Over this, or of a length not told, a body is large. */
const LARGE_JSON_BYTES = 1024 * 1024;

/** Where bytes wait, and whether there is room for them: either flow will do. */
export interface Room {
  checkStorage(sizeBytes: number): Refusal | null;
  spool(): SpoolWriter;
}

export interface LargeJson<V, T> {
  schema: ZodType<V>;
  room: Room;
  turnstile: Turnstile;
  /** Tells of a refusal made at the door. */
  turnAway(refusal: Refusal): Problem;
  /** What the body is for; with a large body nobody else's is in memory until this resolves. */
  use(value: V): Promise<T | Problem>;
}

/** base64 takes four bytes for three; the rest is room for what is around the message. */
export function jsonBytesMax(deps: HttpDeps): number {
  return Math.ceil(deps.config().max_message_size * 4 / 3) + 2 ** 20;
}

export async function takeJson<V, T>(
  c: ApiContext,
  deps: HttpDeps,
  options: LargeJson<V, T>,
): Promise<T | Problem> {
  const { schema, room, turnstile, turnAway, use } = options;
  const bytesMax = jsonBytesMax(deps);
  const declared = declaredLength(c.env.incoming);
  const isChunked = c.env.incoming.headers["content-length"] === undefined;
  if (!isChunked && declared <= LARGE_JSON_BYTES) {
    const body = await readJson(c, deps, schema, bytesMax);
    return isProblem(body) ? body : await use(body.value);
  }
  const full = room.checkStorage(declared);
  if (full) return turnAway(full);
  let parked: Spooled | null = null;
  try {
    const found = await parkBody(c, deps, room.spool(), bytesMax);
    if (isProblem(found)) return found;
    parked = found;
    const taken = await turnstile.pass(async () => {
      if (c.get("signal").aborted) return turnAway(refuse("internal"));
      const body = checkJson(await parkedText(found), schema);
      return isProblem(body) ? body : await use(body.value);
    });
    const tooMany = "Too many large JSON bodies at once, try again later";
    return taken ?? turnAway(refuse("internal", tooMany));
  } catch (error) {
    c.get("log").error("Mail could not be spooled", { error });
    return turnAway(refusalOf(error));
  } finally {
    await parked?.discard();
  }
}
