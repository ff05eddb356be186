/** One page of the list of bans: newest first, and a cursor that says where the page before ended. */

import { InvalidCursor } from "../store/mod.ts";
import type { BanRecord, Page, PageQuery } from "../store/types.ts";

/** Bans of one millisecond stand in the order of their ranges. */
function compare(a: { at: number; range: string }, b: { at: number; range: string }): number {
  return b.at - a.at || (a.range < b.range ? -1 : a.range > b.range ? 1 : 0);
}

const placeOf = ({ createdAt: at, range }: BanRecord) => ({ at, range });

function decode(cursor: string): { at: number; range: string } {
  const [, at, range] = /^(\d{1,15})~([0-9a-f:./]{1,50})$/.exec(cursor) ?? [];
  if (at === undefined || range === undefined) throw new InvalidCursor();
  return { at: Number(at), range };
}

export function pageOfBans(bans: readonly BanRecord[], { limit, cursor }: PageQuery): Page<BanRecord> {
  const after = cursor ? decode(cursor) : null;
  const rest = bans.filter((ban) => !after || compare(after, placeOf(ban)) < 0)
    .sort((a, b) => compare(placeOf(a), placeOf(b)));
  const items = rest.slice(0, limit);
  const last = items.at(-1);
  const isMore = last !== undefined && rest.length > limit;
  return { items, nextCursor: isMore ? `${last.createdAt}~${last.range}` : null };
}
