/** One question to a time server (SNTP, RFC 4330 5): how far its clock is from ours. */

import dgram from "node:dgram";
import { Buffer } from "node:buffer";
import type { Clock } from "../../base/clock.ts";
import type { Resolver } from "../../base/resolver.ts";
import { oneOfEach } from "./port_holder.ts";

const PORT = 123;
const PACKET_BYTES = 48;
/** Version 4, client. */
const CLIENT = 0x23;
const SERVER_MODE = 4;
/** From 1900 to 1970. */
const EPOCH_SECONDS = 2_208_988_800;
/** The era after February 2036 begins at 0 again: what is below this is in it (RFC 4330 3). */
const ERA_BIT = 0x8000_0000;

export interface TimeDeps {
  resolver: Pick<Resolver, "lookupHost">;
  clock: Clock;
  timeoutMs: number;
}

/** Its timestamp at `at` as Unix milliseconds. */
function timeAt(packet: Uint8Array, at: number): number {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const seconds = view.getUint32(at);
  const era = seconds < ERA_BIT ? 2 ** 32 : 0;
  return (seconds + era - EPOCH_SECONDS) * 1000 + view.getUint32(at + 4) / 2 ** 32 * 1000;
}

/** RFC 4330 5: the checks of a client. `nonce` came back as the originate timestamp, so it is an answer to us. */
function problemOf(packet: Uint8Array, nonce: Uint8Array): string | null {
  if (packet.length < PACKET_BYTES || (packet[0]! & 7) !== SERVER_MODE) return "its answer is no SNTP";
  if (!nonce.every((byte, i) => packet[24 + i] === byte)) return "its answer is to another question";
  if (packet[1] === 0) return "it sends us away";
  if (packet[0]! >> 6 === 3) return "its own clock is not set";
  return null;
}

/** `host` or `host:port`, an IPv6 address in brackets. */
function placeOf(server: string): { host: string; port: number } {
  const [, host, port] = /^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(server) ?? [];
  if (host === undefined) throw new Error("that is neither a host nor host:port");
  return { host, port: port === undefined ? PORT : Number(port) };
}

/** Milliseconds that the server is ahead of us. Rejects with what is wrong, in words. */
export async function askTime(server: string, deps: TimeDeps): Promise<number> {
  const { host, port } = placeOf(server);
  const addresses = await deps.resolver.lookupHost(host).catch(() => {
    throw new Error("its name can't be resolved");
  });
  // By both, because a host may have a way to one kind alone.
  const over = new AbortController();
  const asked = oneOfEach(addresses).map((address) => askAddress(address, port, over.signal, deps));
  try {
    return await Promise.any(asked);
  } catch (error) {
    throw (error as AggregateError).errors[0];
  } finally {
    // The slower one is not waited for, and leaves nothing behind.
    over.abort();
    await Promise.allSettled(asked);
  }
}

async function askAddress(
  address: string,
  port: number,
  signal: AbortSignal,
  { clock, timeoutMs }: TimeDeps,
): Promise<number> {
  const socket = dgram.createSocket(address.includes(":") ? "udp6" : "udp4");
  const answer = Promise.withResolvers<number>();
  const fail = (why: string) => answer.reject(new Error(why));
  const timer = clock.timer(timeoutMs, () => fail("no answer in time"));
  // Random rather than our time: nobody can answer without having heard it, and it tells nobody how wrong we are.
  const nonce = crypto.getRandomValues(new Uint8Array(8));
  const packet = new Uint8Array(PACKET_BYTES);
  packet[0] = CLIENT;
  packet.set(nonce, 40);
  let sentMs = 0;
  signal.addEventListener("abort", () => fail("another answered"), { once: true });
  socket.on("error", () => fail("it can't be reached"));
  socket.on("message", (bytes: Uint8Array) => {
    const heardMs = clock.now();
    const problem = problemOf(bytes, nonce);
    if (problem !== null) return fail(problem);
    answer.resolve(((timeAt(bytes, 32) - sentMs) + (timeAt(bytes, 40) - heardMs)) / 2);
  });
  try {
    sentMs = clock.now();
    socket.send(Buffer.from(packet), port, address);
    return await answer.promise;
  } finally {
    timer.cancel();
    await new Promise<void>((resolve) => socket.close(() => resolve()));
  }
}
