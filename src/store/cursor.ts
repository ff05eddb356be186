/**
 * Cursors of lists. A cursor says nothing to who holds it, so that another engine may put something else in; the
 * letter in it is that of its list's direction, so that one list's cursor is not taken for the other's.
 */

import type { Page, PageQuery } from "./types.ts";
import type { RowPage, RowQuery } from "./verbs.ts";

const PAGE_ITEMS_MAX = 500;

/** The cursor did not come from this store: the caller's mistake (400), not the store's. */
export class InvalidCursor extends Error {
  override readonly name = "InvalidCursor";
  constructor() {
    super("Cannot read the list: the cursor is not one of ours");
  }
}

/** "s": newest first, "e": events, oldest first. */
type Letter = "s" | "e";

function encode(letter: Letter, seq: number): string {
  return btoa(`${letter}${seq}`).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function decode(letter: Letter, cursor: string | null | undefined): number | null {
  if (cursor === undefined || cursor === null) return null;
  let text = "";
  try {
    text = atob(cursor.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    // Not base64: falls through to the same answer as any other foreign cursor.
  }
  const digits = /^[a-z](\d{1,15})$/.exec(text)?.[1];
  if (digits === undefined || text[0] !== letter) throw new InvalidCursor();
  return Number(digits);
}

function limitOf(query: PageQuery): number {
  return Math.min(Math.max(1, Math.trunc(query.limit)), PAGE_ITEMS_MAX);
}

/** The query of a list that is newest first. */
export function rowQuery(query: PageQuery): RowQuery {
  return { before: decode("s", query.cursor), limit: limitOf(query) };
}

export function page<R, T>(rows: RowPage<R>, convert: (row: R) => T): Page<T> {
  return {
    items: rows.rows.map(convert),
    nextCursor: rows.next === null ? null : encode("s", rows.next),
  };
}

/** The query of the list of events, which is oldest first. */
export function eventQuery(query: PageQuery): { after: number; limit: number } {
  return { after: decode("e", query.cursor) ?? 0, limit: limitOf(query) };
}

export function eventCursor(seq: number): string {
  return encode("e", seq);
}
