/**
 * Idempotency-Key: what makes it harmless to send a request again. The key comes with a hash of what was asked,
 * so that the same key on another request is noticed (409) and not answered with somebody else's mail.
 *
 * Of JSON the value is hashed and not its bytes: a client that writes its names in another order the second time
 * asks for the same thing, and a message of a batch can be repeated alone. Of a raw message it is the bytes.
 */

import { createHash, type Hash } from "node:crypto";
import { invalid } from "./problem.ts";
import { idempotencyKey } from "./schemas_send.ts";
import type { ApiContext, Problem } from "./types.ts";

const NAME = "Idempotency-Key";

/** The request's key, or null when it has none. Two keys are a mistake: node would join them to one. */
export function keyOf(c: ApiContext): { key: string | null } | Problem {
  const given = c.env.incoming.rawHeaders.filter((name, i) =>
    i % 2 === 0 && name.toLowerCase() === NAME.toLowerCase()
  );
  if (given.length === 0) return { key: null };
  if (given.length > 1) return invalid([{ path: NAME, problem: "is given twice" }]);
  const checked = idempotencyKey.safeParse(c.req.header(NAME) ?? "");
  if (checked.success) return { key: checked.data };
  return invalid([{ path: NAME, problem: checked.error.issues[0]!.message }]);
}

/** A hash that begins with what the request says besides its body. */
export function rawHash(besides: readonly unknown[]): Hash {
  return createHash("sha256").update(`message/rfc822\n${JSON.stringify(besides)}\n`);
}

/** Of a JSON value, hex. */
export function hashOfValue(value: unknown): string {
  const hash = createHash("sha256").update("application/json\n");
  feed(hash, value);
  return hash.digest("hex");
}

/** Kind and length come before each part, so that nothing can be moved from one part into the next. */
function feed(hash: Hash, value: unknown): void {
  if (Array.isArray(value)) {
    hash.update(`[${value.length}:`);
    for (const item of value) feed(hash, item);
  } else if (typeof value === "object" && value !== null) {
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
    hash.update(`{${entries.length}:`);
    for (const [name, inner] of entries.sort(([a], [b]) => a < b ? -1 : 1)) {
      feed(hash, name);
      feed(hash, inner);
    }
  } else if (typeof value === "string") hash.update(`"${value.length}:`).update(value);
  else hash.update(`${value};`);
}
