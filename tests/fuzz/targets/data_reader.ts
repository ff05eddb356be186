/** DataReader against a slow model in strings (RFC 5321 4.1.1.4, 4.5.2), limits included, in every cut. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type DataLimits, type DataProblem, DataReader } from "../../../src/servers/smtp/data_reader.ts";
import { cutAt, cuts, eachByte, join, latin1, latin1Text, soup } from "../arbitraries.ts";
import { type FuzzTarget, property } from "../property.ts";

interface Outcome {
  done: boolean;
  problem: DataProblem | null;
  /** Null where there is a problem: output is of no use then. */
  text: string | null;
  /** What followed the end mark. */
  rest: string;
}

function read(pieces: readonly Uint8Array[], limits: DataLimits): Outcome {
  const reader = new DataReader(limits);
  const outputs: Uint8Array[] = [];
  const rest: Uint8Array[] = [];
  let received = 0;
  for (const piece of pieces) {
    if (reader.done) {
      rest.push(piece);
      continue;
    }
    const { consumed, output } = reader.push(piece);
    assert(consumed === piece.length || reader.done, "stops before the end");
    received += consumed;
    outputs.push(output.slice());
    rest.push(piece.subarray(consumed));
  }
  assertEquals(reader.receivedBytes, received);
  const { done, problem } = reader;
  return { done, problem, text: problem ? null : latin1Text(join(outputs)), rest: latin1Text(join(rest)) };
}

function problemOf(body: string, message: string, limits: DataLimits): DataProblem | null {
  if (/\r(?!\n)|(?<!\r)\n/.test(body)) return "bare_newline";
  const empty = ("\r\n" + message).indexOf("\r\n\r\n");
  const header = empty < 0 ? message : message.slice(0, empty + 2);
  const lines = header.split("\r\n").length - 1;
  if (header.length > limits.headerBytesMax || lines > limits.headerLinesMax) return "header_too_large";
  return message.length > limits.messageBytesMax ? "message_too_large" : null;
}

/** Only for input that has an end. */
function model(text: string, limits: DataLimits): Outcome {
  const end = ("\r\n" + text).indexOf("\r\n.\r\n");
  const body = text.slice(0, end);
  const message = body.split("\r\n").map((line) => line.startsWith(".") ? line.slice(1) : line).join("\r\n");
  const problem = problemOf(body, message, limits);
  return { done: true, problem, text: problem ? null : message, rest: text.slice(end + 3) };
}

const WORDS = [
  "\r\n",
  "\r",
  "\n",
  ".",
  "..",
  "a",
  "\0",
  "\r\n.",
  "\r\n..",
  "\r\n\r\n",
  ".\r\n",
  "S: x\r\n",
  "xxxxxxxx",
];
const limit = fc.oneof(fc.nat(60), fc.constant(1e9));
const limits = fc.record({ messageBytesMax: limit, headerBytesMax: limit, headerLinesMax: limit });

export function open(): FuzzTarget {
  const ended = property(
    "same-as-the-model",
    fc.record({ body: soup(WORDS, 50), cuts, limits }),
    ({ body, cuts, limits }) => {
      const text = body + "\r\n.\r\nNOOP\r\n";
      const expected = model(text, limits);
      for (const pieces of [[latin1(text)], cutAt(latin1(text), cuts), eachByte(latin1(text))]) {
        assertEquals(read(pieces, limits), expected);
      }
    },
  );
  const unended = property(
    "nothing-else-ends-it",
    fc.record({ body: soup(WORDS, 50), cuts, limits }),
    ({ body, cuts, limits }) => {
      const text = body.replaceAll(".\r\n", ".\r \n");
      const whole = read([latin1(text)], limits);
      assertEquals([whole.done, whole.rest], [false, ""]);
      assertEquals(read(cutAt(latin1(text), cuts), limits), whole);
      assertEquals(read(eachByte(latin1(text)), limits), whole);
    },
  );
  return { properties: [ended, unended] };
}
