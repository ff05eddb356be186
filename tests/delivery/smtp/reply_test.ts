/** SMTP replies out of any pieces, and what is not taken for one. */

import { assertEquals, assertThrows } from "@std/assert";
import {
  type Reply,
  ReplyError,
  ReplyReader,
  replyText,
  safeLine,
} from "../../../src/delivery/smtp/reply.ts";
import { Transcript } from "../../../src/delivery/smtp/transcript.ts";
import { test } from "../../support/test.ts";

const encode = (text: string) => new TextEncoder().encode(text);

function read(...pieces: string[]): Reply[] {
  const reader = new ReplyReader();
  const replies: Reply[] = [];
  for (const piece of pieces) {
    reader.push(encode(piece));
    for (let reply = reader.next(); reply; reply = reader.next()) replies.push(reply);
  }
  return replies;
}

test("ReplyReader gives the same replies however the bytes are cut", () => {
  const text =
    "220-mx.example\r\n220 ESMTP\r\n250 2.1.5 Ok\r\n354\r\n550-5.1.1 No such\r\n550 5.1.1 user\r\n";
  const whole = read(text);
  assertEquals(whole.map((reply) => [reply.code, reply.enhanced, reply.text]), [
    [220, null, "mx.example ESMTP"],
    [250, "2.1.5", "Ok"],
    [354, null, ""],
    [550, "5.1.1", "No such user"],
  ]);
  for (let at = 1; at < text.length; at++) assertEquals(read(text.slice(0, at), text.slice(at)), whole);
  assertEquals(read(...text), whole);
});

test("ReplyReader takes LF alone and keeps every line for the transcript", () => {
  const [reply] = read("250-one\n250 two\n");
  assertEquals(reply?.lines, ["250-one", "250 two"]);
  assertEquals(reply?.texts, ["one", "two"]);
});

test("An enhanced code is only what stands right after the code, and is kept as it is", () => {
  assertEquals(read("550 4.7.1 Come back\r\n")[0]?.enhanced, "4.7.1");
  assertEquals(read("451 5.1.1 Later\r\n")[0]?.enhanced, "5.1.1");
  for (const text of ["550 see 5.1.1", "550 5.1", "550 5.1.1x", "550 3.1.1 no", "550 5.1.1.1 no"]) {
    assertEquals(read(`${text}\r\n`)[0]?.enhanced, null, text);
  }
  assertEquals(replyText({ code: 550, enhanced: "5.1.1", text: "No" }), "550 5.1.1 No");
  assertEquals(replyText({ code: 550, enhanced: null, text: "" }), "550");
});

test("What is no reply is garbage, and so are two codes in one reply", () => {
  const garbage = ["HTTP/1.1 200 OK\r\n", "\r\n", "25 ok\r\n", "2500 ok\r\n", "150 what\r\n", "650 no\r\n"];
  for (const text of [...garbage, "250x\r\n", "\x16\x03\x01\r\n", "250-a\r\n550 b\r\n"]) {
    assertThrows(() => read(text), ReplyError);
  }
});

test("Endless lines, endless replies and replies to nothing are cut off early", () => {
  assertThrows(() => read("250 " + "x".repeat(5_000)), ReplyError, "too long");
  assertThrows(() => read("250 " + "x".repeat(5_000) + "\r\n"), ReplyError, "too long");
  const reader = new ReplyReader();
  let lines = 0;
  assertThrows(
    () => {
      for (; lines < 10_000; lines++) reader.push(encode("250-more\r\n"));
    },
    ReplyError,
    "too many lines",
  );
  assertEquals(lines, 128);
  const unread = new ReplyReader();
  assertThrows(
    () => {
      for (let i = 0; i < 10_000; i++) unread.push(encode("250 ok and then some text\r\n"));
    },
    ReplyError,
    "replies to nothing",
  );
});

test("Reply text becomes one safe line", () => {
  const [reply] = read("550 a\x1b[2Jb\u202ec\td\x00\r\n");
  assertEquals(reply?.text, "a\\u001b[2Jb\\u202ec d\\u0000");
  assertEquals(safeLine("x".repeat(1000)).length, 300);
});

test("A transcript keeps its beginning and its end within 4 KB", () => {
  const transcript = new Transcript();
  transcript.note("connecting");
  for (let i = 0; i < 500; i++) transcript.heard([`250-line ${i} of a long answer`]);
  transcript.sent("QUIT");
  const text = transcript.toString();
  assertEquals(text.length <= 4096, true);
  assertEquals(text.startsWith("* connecting\n< 250-line 0 "), true);
  assertEquals(text.endsWith("> QUIT"), true);
  assertEquals(/\* \[\d+ lines left out\]/.test(text), true);
});
