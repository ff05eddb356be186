/**
 * GET /v1/events: what webhooks would have told, for apps that would rather ask. An app keeps next_cursor once it
 * has dealt with a page, and asks again from there; so each event is seen at least once, in order.
 */

import { readQuery } from "../body.ts";
import { isProblem } from "../problem.ts";
import { eventPage, eventQuery } from "../schemas_send.ts";
import type { HttpDeps, Route } from "../types.ts";
import type { FeedPage } from "../../../events/feed.ts";

export function eventRoutes(deps: HttpDeps): Route[] {
  return [{
    method: "GET",
    path: "/v1/events",
    summary: "Events, oldest first, as their webhooks have them",
    access: "token",
    scope: "read",
    parameters: [{ in: "query", schema: eventQuery }],
    answers: { 200: { description: "A page of events, and where to go on", schema: eventPage } },
    errors: ["validation_error"],
    async handle(c) {
      const query = readQuery(c, eventQuery);
      if (isProblem(query)) return query;
      const page = await deps.events({ ...query.value, signal: c.get("signal") });
      return new Response(pageBytes(page), { headers: { "content-type": "application/json" } });
    },
  }];
}

/** The bodies are JSON already: they are put between the brackets as they are. */
function pageBytes({ items, nextCursor, hasMore }: FeedPage): Uint8Array<ArrayBuffer> {
  const encoder = new TextEncoder();
  const pieces: Uint8Array[] = [encoder.encode('{"items":[')];
  const comma = encoder.encode(",");
  for (const [i, item] of items.entries()) pieces.push(...i > 0 ? [comma] : [], item);
  pieces.push(encoder.encode(`],"next_cursor":${JSON.stringify(nextCursor)},"has_more":${hasMore}}\n`));
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
