/**
 * Deleting old messages, oldest first, in batches small enough that a mail does not notice. Nothing that is
 * still owed goes: a message with a pending or held job or a dead webhook stays whatever its age; a dead letter
 * is ended only by its delivery or by somebody dropping it. A recipient who could not be reached is no dead
 * letter: that outcome was told by its event, so a bounced mail goes when it is old, once its webhooks are done.
 *
 * A batch is counted in rows and not in messages: one to a thousand recipients has some ten thousand of them,
 * jobs, attempts, events and what these say, and a hundred such in one transaction would hold up the mail for
 * seconds.
 */

import type { GroupCommit } from "./group_commit.ts";
import type { PrunePlace } from "./rows.ts";
import { nextTurn } from "./scan.ts";
import type { Pruned } from "./verbs.ts";

/** Messages looked at in one transaction: some 100 x 8 pages freed, a few milliseconds. */
const BATCH = 100;
/** Jobs and events looked at in one transaction, which ends with the message that comes over it. */
const BATCH_ROWS = 1_000;

/** Of a message without jobs and events: itself, its content. */
const MESSAGE_ROWS = 2;

const BEGINNING: PrunePlace = { receivedAt: Number.MIN_SAFE_INTEGER, seq: 0 };

/** `deleted` hears of each batch that is committed how many rows it took, about. */
export async function pruneBatches(
  commits: GroupCommit,
  { before, limit, from }: { before: number; limit: number; from: PrunePlace | null },
  deleted: (rows: number) => void,
): Promise<Pruned> {
  const result: Pruned = { count: 0, kept: 0, blobs: [], next: from ?? BEGINNING };
  while (result.next !== null && result.count < limit) {
    const place = result.next;
    const room = limit - result.count;
    const batch = await commits.write({
      what: "delete old messages",
      run: ({ messages }): Pruned & { rows: number } => {
        const old = messages.older(before, place, BATCH);
        const done = { count: 0, kept: 0, blobs: [] as string[], next: place as PrunePlace | null, rows: 0 };
        let rows = 0;
        for (const { seq, received_at, blob_path } of old) {
          done.next = { receivedAt: received_at, seq };
          const weight = messages.weight(seq);
          rows += weight;
          if (messages.owes(seq)) done.kept++;
          else {
            messages.remove(seq);
            done.count++;
            done.rows += weight + MESSAGE_ROWS;
            if (blob_path !== null) done.blobs.push(blob_path);
          }
          if (rows >= BATCH_ROWS || done.count === room) return done;
        }
        if (old.length < BATCH) done.next = null;
        return done;
      },
      committed: ({ rows }) => deleted(rows),
    });
    result.count += batch.count;
    result.kept += batch.kept;
    result.blobs.push(...batch.blobs);
    result.next = batch.next;
    await nextTurn();
  }
  return result;
}
