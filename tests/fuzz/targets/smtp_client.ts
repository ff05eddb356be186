/**
 * What our SMTP client reads and writes: replies in every cut, and the bytes of DATA, which the reader of our own
 * door must give back as they were.
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { dataChunks, scanContent } from "../../../src/delivery/smtp/content.ts";
import { ReplyError, ReplyReader } from "../../../src/delivery/smtp/reply.ts";
import { DataReader } from "../../../src/servers/smtp/data_reader.ts";
import { cutAt, cuts, eachByte, join, latin1, soup } from "../arbitraries.ts";
import { type FuzzTarget, property } from "../property.ts";

const REPLY_WORDS = [
  "220",
  "250",
  "354",
  "421",
  "550",
  "-",
  " ",
  "\r\n",
  "\n",
  "\r",
  "5.1.1 ",
  "4.7.0 ",
  "ok",
  "\0",
  "\x1b[",
  "é",
];
const BODY_WORDS = ["\r\n", ".", "..", "a", "\0", "\r\n.", "\r\n..", "\r\n\r\n", "S: x\r\n", "é", "\r", "\n"];

/** Replies, and whether it ended in garbage. */
function replies(pieces: readonly Uint8Array[]): unknown[] {
  const reader = new ReplyReader();
  const found: unknown[] = [];
  const take = () => {
    for (let reply = reader.next(); reply; reply = reader.next()) found.push(reply);
  };
  try {
    for (const piece of pieces) {
      reader.push(piece);
      take();
    }
  } catch (error) {
    assert(error instanceof ReplyError, String(error));
    take();
    found.push(error.message);
  }
  return found;
}

export function open(): FuzzTarget {
  const sameReplies = property(
    "replies-same-in-every-cut",
    fc.record({ text: soup(REPLY_WORDS, 60), cuts }),
    ({ text, cuts }) => {
      const bytes = latin1(text);
      const whole = replies([bytes]);
      assertEquals(replies(cutAt(bytes, cuts)), whole);
      assertEquals(replies(eachByte(bytes)), whole);
      for (const reply of whole) {
        if (typeof reply === "string") continue;
        const { text, lines, code } = reply as { text: string; lines: string[]; code: number };
        // deno-lint-ignore no-control-regex -- finding control characters is the point
        for (const line of [text, ...lines]) assert(!/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(line), line);
        assert(code >= 200 && code < 600);
      }
    },
  );
  const sameBytes = property(
    "data-read-back-as-it-was",
    fc.record({ head: soup(BODY_WORDS, 30), body: soup(BODY_WORDS, 50) }),
    async ({ head, body }) => {
      const source = { head: latin1(head), body: { kind: "memory" as const, bytes: latin1(body) } };
      const facts = await scanContent(source);
      const message = head + body;
      assertEquals(facts.problem !== null, /\r(?!\n)|(?<!\r)\n/.test(message));
      if (facts.problem !== null) return;
      const sent: Uint8Array[] = [];
      for await (const chunk of dataChunks(source, facts)) sent.push(chunk);
      const reader = new DataReader({ messageBytesMax: 1e9, headerBytesMax: 1e9, headerLinesMax: 1e9 });
      const bytes = join(sent);
      const { consumed, output } = reader.push(bytes);
      assertEquals([consumed, reader.done, reader.problem], [bytes.length, true, null]);
      assertEquals(output, latin1(message === "" || message.endsWith("\r\n") ? message : message + "\r\n"));
    },
  );
  return { properties: [sameReplies, sameBytes] };
}
