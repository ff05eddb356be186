/**
 * What the tests of hostile input share: conversations line by line, bytes cut into packets on purpose, and HTTP
 * requests as only a hostile client writes them.
 */

import { type ConfigValues, type TestDaemon } from "./harness.ts";
import type { SmtpConversation } from "./smtp_conversation.ts";

export type Door = "smtp" | "proxy" | "lmtp";

/** All three doors for mail. */
export const DOORS = {
  proxy_listen: ["127.0.0.1:0"],
  lmtp_listen: ["127.0.0.1:0"],
} satisfies ConfigValues;

export type Step = [line: string, reply: RegExp];

/** Each character is a byte. */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/** One conversation: each line and the reply it must get. */
export async function talk(d: TestDaemon, steps: Step[], door: Door = "smtp"): Promise<void> {
  const c = await d.smtp(door);
  for (const [line, reply] of steps) await c.command(line, reply);
  await c.close();
}

export async function grantData(c: SmtpConversation): Promise<void> {
  await c.command("MAIL FROM:<alice@sender.example>", /^250 /);
  await c.command("RCPT TO:<bob@example.com>", /^250 /);
  await c.command("DATA", /^354 /);
}

/** A conversation in which DATA has been granted. */
export async function inData(d: TestDaemon, door: Door = "smtp"): Promise<SmtpConversation> {
  const c = await d.smtp(door);
  await grantData(c);
  return c;
}

/** Sends each piece in a packet of its own, with a moment for the other side to read it. */
export async function sendPieces(c: SmtpConversation, pieces: Iterable<Uint8Array>): Promise<void> {
  for (const piece of pieces) {
    c.send(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** How many mails are stored; at most a page of them is counted. */
export async function stored(d: TestDaemon): Promise<number> {
  return (await d.api("/v1/messages?limit=500")).json.items.length;
}

/** A connection to the API. */
export function connectApi(d: TestDaemon): Promise<Deno.TcpConn> {
  const [hostname, port] = d.daemon.addresses.api.split(":");
  return Deno.connect({ hostname: hostname!, port: Number(port) });
}

/** The whole answer to these bytes; the server must close, or the request must ask it to. */
export async function answerTo(d: TestDaemon, request: string): Promise<string> {
  using connection = await connectApi(d);
  await connection.write(bytesOf(request));
  return await new Response(connection.readable).text();
}
