/** List-Unsubscribe with one click (RFC 8058): the fields, the token, and one event for each message. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { StoreError } from "../../src/base/errors.ts";
import { readUnsubscribeToken, unsubscribeToken } from "../../src/mail/unsubscribe_token.ts";
import { readVerp, verpAddress } from "../../src/mail/verp.ts";
import { test } from "../support/test.ts";
import {
  dkimResults,
  findings,
  headerOf,
  paths,
  PUBLIC_URL,
  queued,
  TOKEN_KEY,
  withWorld,
} from "./support.ts";

const ID = "01J00000000000000000000001";

test("A token reads back, and only with our key, unchanged", () => {
  for (const index of [0, 1, 999]) {
    const token = unsubscribeToken(TOKEN_KEY, { messageId: ID, index });
    assertMatch(token, /^[0-9a-z-]+$/);
    assertEquals(readUnsubscribeToken(TOKEN_KEY, token), { messageId: ID, index });
    assertEquals(readUnsubscribeToken("cd".repeat(32), token), null);
    for (let i = 0; i < token.length; i++) {
      const changed = token.slice(0, i) + (token[i] === "0" ? "1" : "0") + token.slice(i + 1);
      assertEquals(readUnsubscribeToken(TOKEN_KEY, changed), null);
    }
    for (const other of ["", `${token}x`, token.toUpperCase(), token.slice(1)]) {
      assertEquals(readUnsubscribeToken(TOKEN_KEY, other), null);
    }
  }
});

test("A number with zeros in front is no other spelling of a token, nor of a return path", () => {
  const place = { messageId: ID, index: 7 };
  const padded = (text: string) => text.replace("-7-", "-07-");
  assertEquals(readUnsubscribeToken(TOKEN_KEY, padded(unsubscribeToken(TOKEN_KEY, place))), null);
  assertEquals(readVerp(TOKEN_KEY, padded(verpAddress(TOKEN_KEY, place, "ours.test"))), null);
});

test("A token is no return path and a return path no token", () => {
  const token = unsubscribeToken(TOKEN_KEY, { messageId: ID, index: 0 });
  assertEquals(readVerp(TOKEN_KEY, `bounces+${token.slice(0, -12)}@ours.test`), null);
  const verp = verpAddress(TOKEN_KEY, { messageId: ID, index: 0 }, "ours.test");
  assertEquals(readUnsubscribeToken(TOKEN_KEY, /\+(.*)@/.exec(verp)![1]!), null);
});

test("A send that asks for it has both fields, signed, and its hit is one event", () =>
  withWorld(async ({ send, bytes, flow, store }) => {
    const { id } = queued(await send({}, { listUnsubscribe: true }));
    const message = await bytes(id);
    const header = headerOf(message);
    const [, token] = new RegExp(`^<${PUBLIC_URL}/unsubscribe/([^>]+)>$`).exec(
      header.first("list-unsubscribe")!,
    )!;
    assertEquals(header.first("list-unsubscribe-post"), "List-Unsubscribe=One-Click");
    const signed = header.first("dkim-signature")!;
    assertMatch(
      signed,
      /List-Unsubscribe: +List-Unsubscribe: +List-Unsubscribe-Post: +List-Unsubscribe-Post;/,
    );
    assertEquals(await dkimResults(message), ["pass", "pass"]);

    assertEquals(await flow.readUnsubscribe(token!), "bob@there.test");
    store.failing = "addEffects";
    await assertRejects(() => flow.unsubscribe(token!), StoreError);
    store.failing = null;
    const hits = await Promise.all([1, 2, 3].map(() => flow.unsubscribe(token!)));
    assertEquals([...hits, await flow.unsubscribe(token!)], [true, true, true, true]);
    const events = store.events.filter(({ type }) => type === "mail.unsubscribed");
    assertEquals(events.map(({ details }) => details!.recipient), ["bob@there.test"]);
    assertEquals(store.suppressions.size, 0);
  }));

test("A token that is none of ours, or of no message of ours, does nothing", () =>
  withWorld(async ({ send, flow, store }) => {
    const { id } = queued(await send());
    const token = (index: number, messageId = id) => unsubscribeToken(TOKEN_KEY, { messageId, index });
    for (const bad of ["", "x", token(1), token(0, ID), `${token(0)}0`]) {
      assertEquals([await flow.unsubscribe(bad), await flow.readUnsubscribe(bad)], [false, null]);
    }
    store.messages.get(id)!.direction = "inbound";
    assertEquals(await flow.unsubscribe(token(0)), false);
    assertEquals(store.events.length, 1);
  }));

test("It needs one recipient, a public_url with https, and no field of that name already", async () => {
  const raw = "From: ann@ours.test\nTo: bob@there.test\n\nHi\n";
  await withWorld(async ({ send, sendRaw, bytes }) => {
    const asked = { listUnsubscribe: true };
    assertEquals(findings(await send({ cc: ["cy@there.test"] }, asked)), [
      "list_unsubscribe needs a message with exactly one recipient",
    ]);
    assertEquals(paths(await send({ headers: { "List-Unsubscribe": "<https://x.test>" } }, asked)), [
      "list_unsubscribe",
    ]);
    assertEquals(paths(await sendRaw(`List-Unsubscribe: <https://x.test>\n${raw}`, {}, asked)), [
      "list_unsubscribe",
    ]);
    const sent = await bytes(queued(await sendRaw(raw, {}, asked)).id);
    assertEquals(headerOf(sent).count("list-unsubscribe-post"), 1);
    assertEquals(await dkimResults(sent), ["pass", "pass"]);
  });
  for (
    const [publicUrl, problem] of [[undefined, "public_url"], ["http://mail.ours.test", "https"]] as const
  ) {
    await withWorld(
      async ({ send }) => {
        const [finding, ...others] = findings(await send({}, { listUnsubscribe: true }));
        assertMatch(finding!, new RegExp(`^list_unsubscribe needs .*${problem}`));
        assertEquals(others, []);
      },
      {},
      { public_url: publicUrl },
    );
  }
});
