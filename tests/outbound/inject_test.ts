/**
 * BAD-INPUT 46 to 49: whatever stands in a field, the message either has exactly the header fields and recipients
 * that were asked for, or is refused.
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { OutgoingFields } from "../../src/outbound/types.ts";
import { test } from "../support/test.ts";
import { headerOf, parsed, paths, queued, withWorld } from "./support.ts";

const INJECTIONS = [
  "\r\n",
  "\n",
  "\r",
  "\0",
  "\u0085",
  "\u2028",
  "\u2029",
  "\v",
  "\f",
  "\u007f",
  "\ud800",
  "=?utf-8?q?=0D=0ABcc:_x@y.test?=",
  "=?utf-8?B?DQpCY2M6IHhAeS50ZXN0?=",
  "=?us-ascii?Q?a=0Ab?=",
  "%0d%0a",
  "\\r\\n",
  "嘍嘊",
  ", x@y.test",
  "; x@y.test",
  "> , <x@y.test",
  '" <x@y.test>, "',
  "(",
  ")",
  ":",
  "\u202e",
  " \t ",
];
const TAIL = "Bcc: x@y.test";

/** Each field, with the text put into it. */
const FIELDS: Record<string, (text: string) => Partial<OutgoingFields>> = {
  "from (name)": (text) => ({ from: `Ann${text} <ann@ours.test>` }),
  "from (address)": (text) => ({ from: `ann${text}@ours.test` }),
  "to (name)": (text) => ({ to: [`Bob${text} <bob@there.test>`] }),
  "to (quoted name)": (text) => ({ to: [`"Bob${text}" <bob@there.test>`] }),
  "to (address)": (text) => ({ to: [`bob${text}@there.test`] }),
  "to (domain)": (text) => ({ to: [`bob@there.test${text}`] }),
  cc: (text) => ({ cc: [`Cy${text} <cy@there.test>`] }),
  bcc: (text) => ({ bcc: [`Dee${text} <dee@there.test>`] }),
  reply_to: (text) => ({ replyTo: [`Eve${text} <eve@there.test>`] }),
  subject: (text) => ({ subject: `Hello${text}` }),
  "header value": (text) => ({ headers: { "X-Foo": `a${text}b` } }),
  "header name": (text) => ({ headers: { [`X-Foo${text}`]: "b" } }),
  "message-id": (text) => ({ headers: { "Message-ID": `<a${text}@ours.test>` } }),
  references: (text) => ({ headers: { References: `<a${text}@ours.test>` } }),
  text: (text) => ({ text: `a${text}b` }),
  html: (text) => ({ html: `<p>${text}</p>` }),
  filename: (text) => attach({ filename: `a${text}.txt` }),
  content_type: (text) => attach({ contentType: `text/plain${text}` }),
  content_id: (text) => attach({ contentId: `a${text}` }),
  content: (text) => attach({ contentType: "message/rfc822", content: new TextEncoder().encode(text) }),
};

function attach(values: Partial<OutgoingFields["attachments"][number]>): Partial<OutgoingFields> {
  const content = new TextEncoder().encode("a");
  return { attachments: [{ filename: "a", contentType: "text/plain", content, contentId: null, ...values }] };
}

/** The names that a message has, as both our own reader and the library that takes mail apart see them. */
async function namesOf(message: Uint8Array): Promise<string[]> {
  const own = headerOf(message).fields.map((field) => field.name.toLowerCase());
  assertEquals((await parsed(message)).headers.map(([name]) => name.toLowerCase()), own);
  return own.sort();
}

for (const [field, make] of Object.entries(FIELDS)) {
  test(`Nothing that stands in a field becomes another one: ${field}`, () =>
    withWorld(
      async ({ send, bytes, store }) => {
        const plain = await namesOf(await bytes(queued(await send(make(""))).id));
        let refused = 0;
        for (const injection of INJECTIONS) {
          for (const text of [injection, `${injection}${TAIL}`, `${injection}\r\n\r\n${TAIL}`]) {
            const result = await send(make(text));
            if (result.kind === "invalid") {
              refused++;
              continue;
            }
            const { id, recipients } = queued(result);
            const message = await bytes(id);
            const names = await namesOf(message);
            if (field !== "header name") assertEquals(names, plain, JSON.stringify(text));
            else assertEquals(names.length, plain.length, JSON.stringify(text));
            assert(!/[^\r]\n|\r[^\n]/.test(new TextDecoder("latin1").decode(message)), JSON.stringify(text));
            assert(recipients.every(({ address }) => /^(?:bob|cy|dee)/.test(address)), JSON.stringify(text));
            assertEquals(recipients.length, field === "cc" || field === "bcc" ? 2 : 1);
          }
        }
        // The half of a character at the least, in each of the three texts.
        assert(refused >= 3);
        assertEquals(store.spools.length, store.messages.size);
      },
      {},
      { dkim_sign_outbound: false },
    ));
}

test("Header names that only we write are refused, in any letter case", () =>
  withWorld(async ({ send }) => {
    const names = [
      ..."Bcc bCC From Sender To Cc Reply-To Subject Received Return-Path DKIM-Signature Content-Type".split(
        " ",
      ),
      ..."Content-Transfer-Encoding MIME-Version ARC-Seal Authentication-Results Resent-To Delivered-To"
        .split(" "),
      ..."__proto__ X:Y X\u00a0Y Bcc\t Bcc: -".split(" "),
      "",
      "Bcc ",
      "x".repeat(77),
    ];
    for (const name of names) {
      const headers = JSON.parse(`{${JSON.stringify(name)}: "a@b.test"}`) as Record<string, string>;
      assertEquals(paths(await send({ headers })), [`headers.${name.slice(0, 76)}`]);
    }
    assertEquals(paths(await send({ headers: { "X-A": "1", "x-a": "2" } })), ["headers.x-a"]);
    // What every object has by another name is nobody's field.
    queued(await send({ headers: { constructor: "a@b.test" } }));
  }));

test("Any text in any field leaves the header fields as they are, or is refused", () =>
  withWorld(
    async ({ send, bytes }) => {
      const names = Object.keys(FIELDS).filter((name) => name !== "header name");
      const hostile = fc.array(
        fc.oneof(
          fc.constantFrom(...INJECTIONS, TAIL, "<", ">", '"', "\\", "@", " "),
          fc.string({ unit: "binary" }),
        ),
        { maxLength: 6 },
      ).map((parts) => parts.join(""));
      const plain = new Map<string, string[]>();
      for (const name of names) {
        plain.set(name, await namesOf(await bytes(queued(await send(FIELDS[name]!(""))).id)));
      }
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...names), hostile, async (name, text) => {
          const result = await send(FIELDS[name]!(text));
          if (result.kind === "invalid") return;
          const { id, recipients } = queued(result);
          const found = await namesOf(await bytes(id));
          // A subject of blanks only is none.
          assertEquals(found, plain.get(name));
          assertEquals(recipients.length, name === "cc" || name === "bcc" ? 2 : 1);
        }),
        { numRuns: 600 },
      );
    },
    {},
    { dkim_sign_outbound: false },
  ));
