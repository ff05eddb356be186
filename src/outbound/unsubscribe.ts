/**
 * List-Unsubscribe with one click (RFC 8058). The URI names message and recipient; a hit becomes an event and
 * nothing else, because which list the recipient wants to leave only the app knows: a suppression would stop its
 * invoices as well. Mail programs repeat their request, so a message's second hit says nothing new, also while the
 * first is not yet on disk.
 */

import type { Clock } from "../base/clock.ts";
import type { RouteConfig } from "../events/jobs.ts";
import { outboundEvent } from "../events/outbound.ts";
import { readUnsubscribeToken, unsubscribeToken } from "../mail/unsubscribe_token.ts";
import type { MessageRecord, Store } from "../store/types.ts";

export interface UnsubscribeDeps {
  store: Pick<Store, "getMessage" | "listEvents" | "addEffects">;
  /** Hex; signs the tokens. Never leaves this host. */
  tokenKey: string;
  config: () => RouteConfig;
  clock: Clock;
}

const EVENT = "mail.unsubscribed";
const PAGE = 500;
/** A message with one recipient has few events; past these many nobody is helped by looking on. */
const PAGES_MAX = 20;

/** RFC 8058 3.1: both fields, and both signed. */
export function unsubscribeFields(
  tokenKey: string,
  publicUrl: string,
  messageId: string,
): [name: string, value: string][] {
  const token = unsubscribeToken(tokenKey, { messageId, index: 0 });
  return [
    ["List-Unsubscribe", `<${publicUrl}/unsubscribe/${token}>`],
    ["List-Unsubscribe-Post", "List-Unsubscribe=One-Click"],
  ];
}

interface Target {
  message: MessageRecord;
  recipient: string;
}

async function find({ store, tokenKey }: UnsubscribeDeps, token: string): Promise<Target | null> {
  const place = readUnsubscribeToken(tokenKey, token);
  const message = place && await store.getMessage(place.messageId);
  const recipient = message?.recipients[place!.index];
  return message?.direction === "outbound" && recipient !== undefined ? { message, recipient } : null;
}

export async function readUnsubscribe(deps: UnsubscribeDeps, token: string): Promise<string | null> {
  return (await find(deps, token))?.recipient ?? null;
}

/** Rejects with StoreError, and then it may be asked for again. */
export class Unsubscribes {
  /** Hits under way, by token: those that come meanwhile share the outcome. */
  readonly #running = new Map<string, Promise<boolean>>();

  constructor(private readonly deps: UnsubscribeDeps) {}

  hit(token: string): Promise<boolean> {
    const running = this.#running.get(token);
    if (running) return running;
    const hit = unsubscribe(this.deps, token).finally(() => this.#running.delete(token));
    this.#running.set(token, hit);
    return hit;
  }
}

async function unsubscribe(deps: UnsubscribeDeps, token: string): Promise<boolean> {
  const target = await find(deps, token);
  if (!target) return false;
  if (await isTold(deps, target)) return true;
  const { message, recipient } = target;
  const event = outboundEvent(EVENT, message, { recipient }, deps.clock.now(), deps.config());
  await deps.store.addEffects({ events: [event], suppressions: [] });
  return true;
}

async function isTold({ store }: UnsubscribeDeps, { message, recipient }: Target): Promise<boolean> {
  let cursor: string | undefined;
  for (let page = 0; page < PAGES_MAX; page++) {
    const { items, nextCursor } = await store.listEvents({ messageId: message.id, limit: PAGE, cursor });
    if (items.some(({ type, details }) => type === EVENT && details?.recipient === recipient)) return true;
    if (items.length < PAGE) return false;
    cursor = nextCursor;
  }
  return true;
}
