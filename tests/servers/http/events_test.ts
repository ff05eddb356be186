/** GET /v1/events: the feed's bodies in a page, byte for byte. */

import { assertEquals } from "@std/assert";
import { InvalidCursor } from "../../../src/store/mod.ts";
import { test } from "../../support/test.ts";
import { verdictOf, withDoor } from "./harness.ts";

test("A page is the bodies as they are, and where to go on", () =>
  withDoor({}, async (h) => {
    const response = await h.call("/v1/events");
    assertEquals([response.status, response.headers.get("content-type")], [200, "application/json"]);
    assertEquals(
      await response.text(),
      '{"items":[{"event":"mail.received","id":"1", "n": 1e2},{"event":"mail.bounced","id":"2"}],' +
        '"next_cursor":"c-9","has_more":false}\n',
    );
    h.feed.page = { items: [], nextCursor: 'c"\n', hasMore: true };
    assertEquals(await (await h.call("/v1/events?cursor=c-9&limit=3&event=mail.bounced")).json(), {
      items: [],
      next_cursor: 'c"\n',
      has_more: true,
    });
    const asked = h.feed.queries.map(({ signal: _, ...query }) => query);
    assertEquals(asked, [{ limit: 50 }, { limit: 3, cursor: "c-9", event: "mail.bounced" }]);
  }));

test("A name that no event has, and whatever else is wrong, is 400", () =>
  withDoor({}, async (h) => {
    for (const query of ["event=mail.bouncd", "event=", "limit=501", "cursor=%00", "type=mail.bounced"]) {
      assertEquals(await verdictOf(h.call(`/v1/events?${query}`)), [400, "validation_error"], query);
    }
    h.deps.events = () => Promise.reject(new InvalidCursor());
    assertEquals(await verdictOf(h.call("/v1/events?cursor=zzz")), [400, "validation_error"]);
  }));
