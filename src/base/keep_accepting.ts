/**
 * Keeps a listening server accepting. When the process is out of file descriptors (EMFILE), Deno 2.9 drops the
 * failed accept without a word and never accepts again, however many descriptors are free later. Nothing tells
 * of it, so the socket is told to listen anew every second, which does nothing to one that is well. (A unix
 * socket takes no second listen here, and stays as it is.)
 */

import type { Server } from "node:net";
import { type Clock, every, type Timer } from "./clock.ts";
import { canListenAnew } from "./runtime.ts";

const PERIOD_MS = 1000;

/** What is under a server; node's own name for it. */
interface ListenHandle {
  listen(backlog: number): number;
}

/** For a server that listens, from now until the timer is cancelled. */
export function keepAccepting(server: Server, backlog: number, clock: Clock): Timer {
  return every(clock, PERIOD_MS, () => {
    const { _handle: handle } = server as unknown as { _handle?: ListenHandle | null };
    if (server.listening && canListenAnew()) handle?.listen(backlog);
  });
}
