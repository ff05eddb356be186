/**
 * A large JSON body, parked in the spool until its turn comes (turnstile.ts): how slowly its client sends is then
 * nobody else's matter, and whoever waits holds no memory.
 */

import { sourceChunks } from "../../mail/source.ts";
import type { Spooled, SpoolWriter } from "../../store/types.ts";
import { limitsOf, readBody } from "./body.ts";
import { JsonText } from "./json.ts";
import type { ApiContext, HttpDeps, Problem } from "./types.ts";

/** The whole body, parked. Rejects with StoreError when the disk fails; nothing stays behind then. */
export async function parkBody(
  c: ApiContext,
  deps: HttpDeps,
  writer: SpoolWriter,
  bytesMax: number,
): Promise<Spooled | Problem> {
  try {
    const problem = await readBody(c, limitsOf(c, deps, bytesMax), (chunk) => {
      const waits = writer.write(chunk);
      return waits ? waits.then(() => null) : null;
    });
    if (problem === null) return await writer.finish();
    await writer.abort();
    return problem;
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** What was parked, read back. */
export async function parkedText({ header, body }: Spooled): Promise<JsonText> {
  const text = new JsonText();
  for await (const chunk of sourceChunks({ head: header, body })) text.add(chunk);
  return text;
}
