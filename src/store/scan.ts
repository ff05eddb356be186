/**
 * Reading a long table newest first without holding up the mail: in slices, with a turn of the event loop
 * between them in which writes are committed. A search that finds little gives up after a bounded number of
 * slices and returns what it has, with the place to go on from; so a page may be short, even empty, and still
 * not be the last.
 */

import type { RowPage, RowQuery } from "./verbs.ts";

/** Sequence numbers looked at between two turns: 1 to 2 ms. */
const SLICE_ROWS = 2_000;
const SLICES_MAX = 100;

export interface Scan<T> {
  /** The newest row below `before` worth looking at; skips what a deletion or an index leaves out. */
  newestBelow(before: number): number | null;
  /** Matching rows with `from <= seq < before`, newest first. */
  slice(before: number, from: number, limit: number): T[];
  /** When true, slice() is cheap over any range. */
  direct?: boolean;
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** One page. */
export async function scanDown<T extends { seq: number }>(
  scan: Scan<T>,
  query: RowQuery,
): Promise<RowPage<T>> {
  const rows: T[] = [];
  let before = query.before ?? Number.MAX_SAFE_INTEGER;
  for (let slices = 0; slices < SLICES_MAX; slices++) {
    const newest = scan.newestBelow(before);
    if (newest === null) return { rows, next: null };
    const from = scan.direct ? 0 : Math.max(0, newest - SLICE_ROWS + 1);
    // One more than asked for tells whether there is another page.
    rows.push(...scan.slice(newest + 1, from, query.limit + 1 - rows.length));
    if (rows.length > query.limit) {
      rows.length = query.limit;
      return { rows, next: rows.at(-1)?.seq ?? null };
    }
    if (from === 0) return { rows, next: null };
    before = from;
    await nextTurn();
  }
  return { rows, next: before };
}
