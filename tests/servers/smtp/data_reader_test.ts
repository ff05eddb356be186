/** DataReader against a slow model that is plainly right, in every cut; and its limits at their edges. */

import fc from "fast-check";
import { assertEquals } from "@std/assert";
import { type DataLimits, DataReader } from "../../../src/servers/smtp/data_reader.ts";
import { test } from "../../support/test.ts";
import { join } from "./fake_flow.ts";

const WIDE: DataLimits = { messageBytesMax: 1e9, headerBytesMax: 1e9, headerLinesMax: 1e9 };
const bytesOf = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

interface Outcome {
  done: boolean;
  problem: string | null;
  /** Null where there is a problem: output is of no use then. */
  text: string | null;
  rest: string;
}

function read(pieces: Uint8Array[], limits: DataLimits): Outcome {
  const reader = new DataReader(limits);
  const outputs: Uint8Array[] = [];
  const rest: Uint8Array[] = [];
  for (const piece of pieces) {
    if (reader.done) {
      rest.push(piece);
      continue;
    }
    const { consumed, output } = reader.push(piece);
    outputs.push(output.slice());
    rest.push(piece.subarray(consumed));
  }
  const text = reader.problem ? null : String.fromCharCode(...join(outputs));
  return { done: reader.done, problem: reader.problem, text, rest: String.fromCharCode(...join(rest)) };
}

/** What RFC 5321 4.1.1.4 and 4.5.2 say, with strings. Only for input that has an end. */
function model(text: string): Outcome {
  const end = ("\r\n" + text).indexOf("\r\n.\r\n");
  const body = text.slice(0, end);
  const bare = /(^|[^\r])\n|\r(?!\n)/.test(body);
  const lines = body.split("\r\n").map((line) => line.startsWith(".") ? line.slice(1) : line);
  return {
    done: true,
    problem: bare ? "bare_newline" : null,
    text: bare ? null : lines.join("\r\n"),
    rest: text.slice(end + 3),
  };
}

function cut(all: Uint8Array, at: number[]): Uint8Array[] {
  const places = [0, ...at.map((place) => place % (all.length + 1)).sort((a, b) => a - b), all.length];
  return places.slice(1).map((place, i) => all.slice(places[i], place));
}

test("DataReader agrees with the model, however the input is cut", () => {
  const piece = fc.constantFrom(
    "\r\n",
    "\r",
    "\n",
    ".",
    "..",
    "a",
    "\0",
    "\r\n.",
    "\r\n..",
    "Subject: x",
    ".\r\n",
  );
  const input = fc.array(piece, { maxLength: 40 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(input, fc.array(fc.nat(), { maxLength: 8 }), (body, places) => {
      const text = body + "\r\n.\r\nNOOP\r\n";
      const all = bytesOf(text);
      const expected = model(text);
      assertEquals(read(cut(all, places), WIDE), expected);
      assertEquals(read([...all].map((byte) => Uint8Array.of(byte)), WIDE), expected);
    }),
    { numRuns: 500 },
  );
});

test("a dot alone ends an empty message, and two dots are a line of one", () => {
  assertEquals(read([bytesOf(".\r\n")], WIDE), { done: true, problem: null, text: "", rest: "" });
  assertEquals(read([bytesOf("..\r\n.\r\n")], WIDE).text, ".\r\n");
});

test("a chunk without stuffed dots is passed on as a view, not as a copy", () => {
  const chunk = bytesOf("Subject: x\r\n\r\nbody\r\n");
  assertEquals(new DataReader(WIDE).push(chunk).output.buffer === chunk.buffer, true);
});

const every = (text: string) =>
  [1, 2, 3, 7, 4096].map((size) => {
    const all = bytesOf(text);
    return Array.from(
      { length: Math.ceil(all.length / size) },
      (_, i) => all.slice(i * size, (i + 1) * size),
    );
  });

test("the size limit counts unstuffed bytes and holds exactly", () => {
  const text = "..34567\r\n.\r\n";
  for (const pieces of every(text)) {
    assertEquals(read(pieces, { ...WIDE, messageBytesMax: 8 }).problem, null);
    assertEquals(read(pieces, { ...WIDE, messageBytesMax: 7 }).problem, "message_too_large");
  }
});

test("header bytes and lines are limited, the body's are not", () => {
  const text = "A: 1\r\nB: 2\r\n\r\n" + "long body\r\n".repeat(50) + ".\r\n";
  for (const pieces of every(text)) {
    assertEquals(read(pieces, { ...WIDE, headerBytesMax: 14, headerLinesMax: 3 }).problem, null);
    assertEquals(read(pieces, { ...WIDE, headerBytesMax: 13 }).problem, "header_too_large");
    assertEquals(read(pieces, { ...WIDE, headerLinesMax: 2 }).problem, "header_too_large");
  }
});

test("a header that never ends is limited as well", () => {
  for (const pieces of every("X".repeat(100) + "\r\n.\r\n")) {
    assertEquals(read(pieces, { ...WIDE, headerBytesMax: 50 }).problem, "header_too_large");
  }
});

test("of several problems the bare newline is named, then the header, then the size", () => {
  const limits = { headerBytesMax: 5, headerLinesMax: 100, messageBytesMax: 5 };
  for (const pieces of every("X: 123456\r\nY\n\r\n.\r\n")) {
    assertEquals(read(pieces, limits).problem, "bare_newline");
  }
  for (const pieces of every("X: 123456\r\n\r\n.\r\n")) {
    assertEquals(read(pieces, limits).problem, "header_too_large");
  }
});
