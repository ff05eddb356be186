/**
 * Deleting old messages, oldest first, in batches small enough that a mail does not notice. Nothing that is
 * still owed goes: a message with a pending or held job or a dead webhook stays whatever its age; a dead letter
 * is ended only by its delivery or by somebody dropping it. A recipient who could not be reached is no dead
 * letter: that outcome was told by its event, so a bounced mail goes when it is old, once its webhooks are done.
 */

import type { GroupCommit } from "./group_commit.ts";
import { nextTurn } from "./scan.ts";

/** Messages looked at in one transaction: some 100 x 8 pages freed, a few milliseconds. */
const BATCH = 100;

/** `blobs` are the files to be removed now that their rows are gone. */
export async function pruneBatches(
  commits: GroupCommit,
  before: number,
  limit: number,
): Promise<{ count: number; blobs: string[] }> {
  const result = { count: 0, blobs: [] as string[] };
  let after = { receivedAt: Number.MIN_SAFE_INTEGER, seq: 0 };
  while (result.count < limit) {
    const place = after;
    const room = limit - result.count;
    const batch = await commits.write({
      what: "delete old messages",
      run: ({ messages }) => {
        const old = messages.older(before, place, BATCH);
        const free = old.filter((message) => message.owed === 0).slice(0, room);
        for (const { seq } of free) messages.remove(seq);
        return { old, free };
      },
    });
    result.count += batch.free.length;
    result.blobs.push(...batch.free.map((message) => message.blob_path).filter((path) => path !== null));
    const last = batch.old.at(-1);
    if (!last || batch.old.length < BATCH) break;
    after = { receivedAt: last.received_at, seq: last.seq };
    await nextTurn();
  }
  return result;
}
