/**
 * One question to one name server: over UDP from a fresh random port with a random id (RFC 5452 4.5), again
 * over TCP when the answer was cut (RFC 7766 5). An answer counts only when it comes from the server asked,
 * with our id and our question; anything else on the socket is somebody's noise and is waited past.
 *
 * Failure rule: a Failure is always temporary; what the DNS says for good (NXDOMAIN, no data) is an answer.
 */

import { randomInt } from "node:crypto";
import { Buffer } from "node:buffer";
import dgram from "node:dgram";
import net from "node:net";
import type { Clock } from "./clock.ts";
import { decodeMessage, type DnsMessage, encodeQuery, type RecordType } from "./dns_message.ts";
import type { NameServer } from "./dns_servers.ts";

export interface Question {
  name: string;
  type: RecordType;
}

/** What an exchange runs under. */
export interface Context {
  clock: Clock;
  /** Ends it at once, as if timed out. */
  signal: AbortSignal;
}

/** "timeout": silence; "refused": nobody listens; "malformed": bytes with our id that are no answer. */
export type Failure = "timeout" | "refused" | "malformed";
export type Exchange = { ok: true; message: DnsMessage } | { ok: false; failure: Failure };

const failed = (failure: Failure): Exchange => ({ ok: false, failure });

function matches(message: DnsMessage, id: number, question: Question): boolean {
  const [asked, ...more] = message.questions;
  return message.type === "response" && message.id === id && more.length === 0 && asked !== undefined &&
    asked.type === question.type && asked.class === "IN" && asked.name.toLowerCase() === question.name;
}

/** Null: not for us, keep waiting. */
function judge(bytes: Uint8Array, id: number, question: Question): Exchange | null {
  if (bytes.length < 12 || (bytes[0]! << 8 | bytes[1]!) !== id) return null;
  try {
    const message = decodeMessage(bytes);
    // FORMERR may come without the question (RFC 6891 7).
    if (message.type === "response" && message.rcode === "FORMERR") return { ok: true, message };
    return matches(message, id, question) ? { ok: true, message } : null;
  } catch {
    // The id is ours but the rest can't be decoded: this server has answered, uselessly.
    return failed("malformed");
  }
}

function overUdp(context: Context, server: NameServer, question: Question, edns: boolean, timeoutMs: number) {
  return new Promise<Exchange>((resolve) => {
    const id = randomInt(0x10000);
    const socket = dgram.createSocket(server.address.includes(":") ? "udp6" : "udp4");
    let done = false;
    const end = (result: Exchange) => {
      if (done) return;
      done = true;
      timer.cancel();
      context.signal.removeEventListener("abort", giveUp);
      socket.close();
      resolve(result);
    };
    const giveUp = () => end(failed("timeout"));
    const timer = context.clock.timer(timeoutMs, giveUp);
    context.signal.addEventListener("abort", giveUp);
    socket.on("message", (bytes: Uint8Array, from: { address: string; port: number }) => {
      if (from.address !== server.address || from.port !== server.port) return;
      const result = judge(bytes, id, question);
      if (result) end(result);
    });
    socket.on("error", () => end(failed("refused")));
    const query = encodeQuery(id, question.name, question.type, edns);
    socket.send(query, server.port, server.address, (error) => {
      if (error) end(failed("refused"));
    });
  });
}

function overTcp(
  context: Context,
  server: NameServer,
  question: Question,
  timeoutMs: number,
): Promise<Exchange> {
  return new Promise((resolve) => {
    const id = randomInt(0x10000);
    const socket = net.connect({ host: server.address, port: server.port });
    let received = Buffer.alloc(0);
    let done = false;
    const end = (result: Exchange) => {
      if (done) return;
      done = true;
      timer.cancel();
      context.signal.removeEventListener("abort", giveUp);
      socket.destroy();
      resolve(result);
    };
    const giveUp = () => end(failed("timeout"));
    const timer = context.clock.timer(timeoutMs, giveUp);
    context.signal.addEventListener("abort", giveUp);
    socket.on("connect", () => {
      const query = encodeQuery(id, question.name, question.type, true);
      // RFC 1035 4.2.2: two octets of length come first.
      socket.write(Buffer.concat([Buffer.from([query.length >> 8, query.length & 0xff]), query]));
    });
    socket.on("data", (chunk: Uint8Array) => {
      // The length field bounds what can pile up here: 64 KiB and one read.
      received = Buffer.concat([received, chunk]);
      const length = received.length < 2 ? Infinity : received.readUInt16BE(0);
      if (received.length >= length + 2) {
        end(judge(received.subarray(2, length + 2), id, question) ?? failed("malformed"));
      }
    });
    socket.on("error", () => end(failed("refused")));
    socket.on("close", () => end(failed("malformed")));
  });
}

/** Asks one server once, with the changes of transport that its answer calls for, all within `timeoutMs`. */
export async function askServer(
  context: Context,
  server: NameServer,
  question: Question,
  timeoutMs: number,
): Promise<Exchange> {
  const { clock } = context;
  const endsAt = clock.monotonic() + timeoutMs;
  const leftMs = () => Math.max(0, endsAt - clock.monotonic());
  let result = await overUdp(context, server, question, true, timeoutMs);
  // Servers from before EDNS say FORMERR to it (RFC 6891 7).
  if (result.ok && (result.message.rcode === "FORMERR" || result.message.rcode === "NOTIMP")) {
    result = await overUdp(context, server, question, false, leftMs());
  }
  if (result.ok && result.message.truncated) result = await overTcp(context, server, question, leftMs());
  return result;
}
