/**
 * Events for apps that pull: the same bodies that webhooks carry, oldest first, from a cursor on. Bodies are
 * handed on as the bytes that they were built as; a mail of a megabyte is not parsed once more to be put in a
 * list.
 *
 * Failure rules: nothing that one mail is may stop the feed. A mail that kills its parser comes unparsed, one
 * that can't be read comes with the URL of its raw bytes, and one that retention took meanwhile is left out.
 * A store that fails rejects; the caller asks again from the same cursor.
 */

import { mapAtOnce } from "../base/at_once.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Config } from "../config/schema.ts";
import type { EventRecord, Store } from "../store/types.ts";
import { outboundPayload } from "./outbound.ts";
import type { PayloadInput } from "./types.ts";

/** Of all bodies of a page. The first event comes in any case, or a large one would stop the feed. */
const PAGE_BYTES_MAX = 16 * 2 ** 20;
/** A mail is in its body as a whole and in parts, in base64 and escaped: about this many times its size. */
const BODY_FACTOR = 4;
/** What a body takes besides its mail. */
const BODY_BYTES_MIN = 4 * 1024;
/** Looked through at once for one event name, and how often before the caller is asked to come again. */
const SCAN_EVENTS = 500;
const PAGES_MAX = 10;
const BODIES_AT_ONCE = 4;

export interface FeedQuery {
  /** Absent: from the oldest event on. */
  cursor?: string | undefined;
  /** 1 to 500. */
  limit: number;
  /** Only events of this name. */
  event?: string | undefined;
  /** Ends the work early; what is returned then is of no use. */
  signal?: AbortSignal | undefined;
}

export interface FeedPage {
  /** Webhook bodies: JSON, UTF-8. */
  items: Uint8Array[];
  /** Where to go on: never null, also when there is nothing new. */
  nextCursor: string;
  /** There was more when this was read. */
  hasMore: boolean;
}

export type EventFeed = (query: FeedQuery) => Promise<FeedPage>;

export interface EventFeedDeps {
  store: Pick<Store, "listEvents" | "readRaw">;
  /** Builds the body of a mail.received, off the main thread. May reject. */
  buildPayload: (input: PayloadInput) => Promise<Uint8Array>;
  /** Base of the URLs in payloads. */
  baseUrl: () => string;
  /** Hex key of the signed URLs. */
  urlKey: string;
  config: () => Pick<Config, "webhook_inline_max">;
  clock: Clock;
  log: Logger;
}

export function createEventFeed(deps: EventFeedDeps): EventFeed {
  return async (query) => {
    const found = await findEvents(deps, query);
    const bodies = await mapAtOnce(found.events, BODIES_AT_ONCE, async (event) => {
      if (query.signal?.aborted) return null;
      return await bodyOf(deps, event);
    });
    return {
      items: bodies.filter((body) => body !== null),
      nextCursor: found.nextCursor,
      hasMore: found.hasMore,
    };
  };
}

/** The events of a page: no more than were asked for, and no more than fit. */
async function findEvents(deps: EventFeedDeps, { cursor, limit, event }: FeedQuery) {
  const room: Room = { events: limit, bytes: PAGE_BYTES_MAX, event, empty: true };
  const events: EventRecord[] = [];
  let next = cursor;
  for (let pages = 1;; pages++) {
    let asked = event === undefined ? room.events : SCAN_EVENTS;
    let page = await deps.store.listEvents({ limit: asked, cursor: next });
    let fits = fitting(deps, page.items, room);
    // A cursor only leads past a whole page, so a shorter one is asked for. It may hold other events by now.
    while (fits > 0 && fits < page.items.length) {
      asked = fits;
      page = await deps.store.listEvents({ limit: asked, cursor: next });
      fits = fitting(deps, page.items, room);
    }
    // Nothing of this page fits: it is the next call's.
    if (fits === 0 && page.items.length > 0) return { events, nextCursor: next!, hasMore: true };
    for (const record of page.items) {
      if (!isWanted(record, room)) continue;
      events.push(record);
      room.events--;
      room.bytes -= bytesOf(deps, record);
      room.empty = false;
    }
    next = page.nextCursor;
    const hasMore = page.items.length === asked;
    if (!hasMore || room.events === 0 || pages === PAGES_MAX) return { events, nextCursor: next, hasMore };
  }
}

/** What a page still takes. */
interface Room {
  events: number;
  bytes: number;
  /** Only events of this name. */
  event: string | undefined;
  /** Nothing is in the page yet: the next event comes in whatever its size. */
  empty: boolean;
}

const isWanted = ({ type }: EventRecord, { event }: Room) => event === undefined || type === event;

/** How many of these events, from the first on, the page takes; those that are not wanted take no room. */
function fitting(deps: EventFeedDeps, records: readonly EventRecord[], room: Room): number {
  let { events, bytes, empty } = room;
  for (const [i, record] of records.entries()) {
    if (!isWanted(record, room)) continue;
    bytes -= bytesOf(deps, record);
    if (events === 0 || (bytes < 0 && !empty)) return i;
    events--;
    empty = false;
  }
  return records.length;
}

/** About how many bytes the event's body has; seldom more. */
function bytesOf({ config }: EventFeedDeps, { type, message }: EventRecord): number {
  if (type !== "mail.received") return BODY_BYTES_MIN;
  // Over the inline limit only text and html are in it, cut to that limit.
  return Math.min(message.sizeBytes, config().webhook_inline_max) * BODY_FACTOR + BODY_BYTES_MIN;
}

async function bodyOf(deps: EventFeedDeps, event: EventRecord): Promise<Uint8Array | null> {
  const { type, message, details, createdAt } = event;
  if (details !== null) {
    return new TextEncoder().encode(JSON.stringify(outboundPayload(type, message, details, createdAt)));
  }
  const raw = await deps.store.readRaw(message.id);
  if (raw === null) return null;
  const input: PayloadInput = {
    record: message,
    raw,
    recipients: message.recipients,
    inlineBytesMax: deps.config().webhook_inline_max,
    baseUrl: deps.baseUrl().replace(/\/+$/, ""),
    urlKey: deps.urlKey,
    nowMs: deps.clock.now(),
  };
  try {
    return await deps.buildPayload(input);
  } catch (error) {
    warn("Cannot parse the message for its event: given without", error);
  }
  try {
    return await deps.buildPayload({ ...input, skipParse: true });
  } catch (error) {
    // Retention may have taken the file between the row and its bytes.
    if (await deps.store.readRaw(message.id) === null) return null;
    warn("Cannot read the message for its event: given as a URL", error);
  }
  return await deps.buildPayload({ ...input, skipParse: true, inlineBytesMax: -1 });

  function warn(what: string, error: unknown): void {
    deps.log.warn(what, { message_id: message.id, error: messageOf(error) });
  }
}
