/**
 * One place where connections come in. A place that can't be had (port 25 taken, no right to it) is no reason
 * for the daemon to die: the listener says why, tries again every 30 s, and works once it is free.
 */

import { createServer, type Server, type Socket } from "node:net";
import { plainAddress } from "../../base/address.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { keepAccepting } from "../../base/keep_accepting.ts";
import type { Logger } from "../../base/log.ts";
import { busyPortRemedy, forbiddenPortRemedy, type PortHost } from "../../config/busy_port.ts";
import { type ListenAddress, parseListen } from "../../config/notation.ts";
import type { DoorKind } from "./dialogue.ts";

export interface ListenerInfo {
  kind: DoorKind;
  /** As in the config, or `fd:N`. */
  configured: string;
  /** What is bound: `127.0.0.1:2525`, `[::]:25`, `unix:/path`; null while it is not. */
  address: string | null;
  /** Why it is not bound, or null. */
  problem: string | null;
}

const BACKLOG = 511;

type Place = ListenAddress | { fd: number };

/** What is needed of node:net; an argument, because a host without IPv6 is hard to come by in a test. */
export interface Binder {
  create(onSocket: (socket: Socket) => void): Server;
  listen(server: Server, where: Place, onListening: () => void): void;
}

export const netBinder: Binder = {
  create: (onSocket) => createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, onSocket),
  listen: (server, where, onListening) => void server.listen({ ...where, backlog: BACKLOG }, onListening),
};

export interface ListenerParts {
  kind: DoorKind;
  configured: string;
  /** A socket handed over by the service manager, in place of an address. */
  fd?: number | undefined;
  clock: Clock;
  log: Logger;
  retryMs: number;
  binder: Binder;
  /** What to type when it fails is another thing without. */
  hasSystemd: () => boolean;
  onSocket: (socket: Socket) => void;
}

/** What node:net says on a host that has IPv6 compiled out or switched off. */
const NO_IPV6 = new Set(["EAFNOSUPPORT", "EADDRNOTAVAIL"]);
const SOCKET_MODE = 0o660;

export class Listener {
  readonly info: ListenerInfo;
  #parts: ListenerParts;
  #server: Server | null = null;
  #retry: Timer | null = null;
  #keeping: Timer | null = null;
  #closed = false;

  constructor(parts: ListenerParts) {
    this.#parts = parts;
    this.info = { kind: parts.kind, configured: parts.configured, address: null, problem: null };
  }

  /** Never rejects: a failure is in `info.problem`, and will be tried again. */
  async open(): Promise<void> {
    const { log, clock, retryMs, kind, configured } = this.#parts;
    try {
      await this.#bind();
      this.info.problem = null;
      log.info("listening", { door: kind, address: this.info.address });
    } catch (error) {
      // Said once for each reason, not every 30 s.
      const problem = `Cannot listen on ${configured}: ${reasonOf(error)}`;
      const remedy = remedyOf(error, kind, configured, { hasSystemd: this.#parts.hasSystemd() });
      if (problem !== this.info.problem) {
        log.error(problem, { door: kind, retry_ms: retryMs, ...(remedy && { remedy }) });
      }
      this.info.problem = problem;
      if (!this.#closed) this.#retry = clock.timer(retryMs, () => void this.open());
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#retry?.cancel();
    this.#keeping?.cancel();
    const server = this.#server;
    this.#server = null;
    if (!server) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      // Open sessions hold the server's close back; they have their own way to end.
      setImmediate(resolve);
    });
    const path = this.info.address?.startsWith("unix:") ? this.info.address.slice(5) : null;
    this.info.address = null;
    if (path !== null) await removeQuietly(path);
  }

  async #bind(): Promise<void> {
    const { fd, configured } = this.#parts;
    if (fd !== undefined) return await this.#listen({ fd });
    const address = parseListen(configured);
    if (!address) throw new Error("it is no host:port, [v6]:port or unix:/path");
    if ("path" in address) {
      await removeStale(address.path);
      // Until the chmod the file is the owner's alone (connecting needs the write bit): never too open.
      await this.#listen(address);
      return await Deno.chmod(address.path, SOCKET_MODE);
    }
    try {
      await this.#listen(address);
    } catch (error) {
      if (address.host !== "::" || !NO_IPV6.has(codeOf(error))) throw error;
      await this.#listen({ host: "0.0.0.0", port: address.port });
    }
  }

  #listen(where: Place): Promise<void> {
    return new Promise((resolve, reject) => {
      const server = this.#parts.binder.create(this.#parts.onSocket);
      server.once("error", reject);
      this.#parts.binder.listen(server, where, () => {
        server.off("error", reject);
        server.on("error", (error) => {
          this.#parts.log.error("listener failed", { door: this.info.kind, error: messageOf(error) });
        });
        // Closed while it was being bound.
        if (this.#closed) server.close();
        else this.#keeping = keepAccepting(server, BACKLOG, this.#parts.clock);
        this.#server = server;
        this.info.address = boundTo(server, where);
        resolve();
      });
    });
  }
}

function boundTo(server: Server, where: Place): string {
  const bound = server.address();
  if (typeof bound === "string") return `unix:${bound}`;
  if (bound === null || bound.address === undefined) {
    return "path" in where ? `unix:${where.path}` : "fd" in where ? `fd:${where.fd}` : "unknown";
  }
  const host = plainAddress(bound.address);
  return host.includes(":") ? `[${host}]:${bound.port}` : `${host}:${bound.port}`;
}

/** A socket file that nobody listens on is a leftover of a crash; one that answers is somebody's. */
async function removeStale(path: string): Promise<void> {
  try {
    if (!(await Deno.lstat(path)).isSocket) throw new Error("a file that is no socket is in the way");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  const inUse = await Deno.connect({ transport: "unix", path }).then((connection) => {
    connection.close();
    return true;
  }, () => false);
  if (inUse) throw new Error("another process listens there");
  await Deno.remove(path);
}

async function removeQuietly(path: string): Promise<void> {
  await Deno.remove(path).catch(() => {
    // Closing the server has usually removed it already.
  });
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

function reasonOf(error: unknown): string {
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return "the address is in use";
    case "EACCES":
      return "no permission (ports under 1024 need CAP_NET_BIND_SERVICE)";
    default:
      return messageOf(error);
  }
}

/** What to type, where that is known; `doctor` says the same. */
function remedyOf(error: unknown, kind: DoorKind, configured: string, host: PortHost): string | null {
  const place = parseListen(configured);
  if (place === null || "path" in place) return null;
  if (codeOf(error) === "EADDRINUSE") return busyPortRemedy(place.port, `${kind}_listen`, host);
  return codeOf(error) === "EACCES" ? forbiddenPortRemedy(place.port, `${kind}_listen`, host) : null;
}
