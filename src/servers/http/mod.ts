/**
 * Door 2: HTTP. Three listeners on one runtime: the API for programs with a token, the same API on the control
 * socket for whoever may open that file, and metrics, which only ever answer one path.
 */

import type http from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { keepAccepting } from "../../base/keep_accepting.ts";
import { canServeHttpOnUnixSockets } from "../../base/runtime.ts";
import { Turns } from "../../base/turns.ts";
import { createApp } from "./app.ts";
import { bindControlSocket } from "./control_socket.ts";
import { createListener, type Listener } from "./listener.ts";
import { createMetricsApp } from "./metrics_app.ts";
import { RateLimits } from "./rate_limit.ts";
import type { ApiEnv, HttpDeps } from "./types.ts";
import { serveOnUnixSocket } from "./unix_server.ts";

export type {
  AttachmentContent,
  DomainEntry,
  DomainTable,
  HealthReport,
  HttpConfig,
  HttpDeps,
} from "./types.ts";

/** The addresses actually bound: `host:port` with the real port, `[host]:port` for IPv6, a path for the socket. */
export interface HttpAddresses {
  api: string;
  metrics: string | null;
  control: string;
}

export interface HttpDoor {
  /** Opens all listeners or none: rejects with what stands in the way, and nothing is left open. */
  listen(): Promise<HttpAddresses>;
  /** Stops accepting at API and control socket and resolves when the requests in flight are answered. May be called twice. */
  drain(): Promise<void>;
  /** Closes everything at once, whatever is in flight, and removes the socket's file. May be called twice. */
  close(): Promise<void>;
}

/** Connections that wait to be accepted; node's own number. */
const BACKLOG = 511;

export function createHttpDoor(deps: HttpDeps): HttpDoor {
  return new Door(deps);
}

/** Construction opens nothing; a Door listens once. */
class Door implements HttpDoor {
  readonly #deps: HttpDeps;
  readonly #api: Listener;
  readonly #control: Listener;
  readonly #metrics: Listener;
  /** Serves the control socket where node:http can't. */
  readonly #serveControl: (path: string) => void;
  /** What that opened. */
  readonly #endings: (() => Promise<void>)[] = [];
  #draining = false;
  #removeSocket: () => Promise<void> = async () => {};

  constructor(deps: HttpDeps) {
    this.#deps = deps;
    const draining = () => this.#draining;
    const app = createApp(deps, { limits: new RateLimits(deps.clock), draining });
    const common = { config: deps.config, clock: deps.clock, log: deps.log, metrics: deps.metrics };
    this.#serveControl = (path) => {
      const serve = (request: Request, env: ApiEnv["Bindings"]) => app.fetch(request, env);
      const { close } = serveOnUnixSocket(path, serve, new Turns(deps.clock));
      this.#endings.push(close);
    };
    this.#api = createListener({ ...common, door: "api", fetch: (request, env) => app.fetch(request, env) });
    this.#control = createListener({
      ...common,
      door: "control",
      fetch: (request, env) => app.fetch(request, env),
    });
    const metricsApp = createMetricsApp(deps);
    this.#metrics = createListener({
      ...common,
      door: "api",
      fetch: (request, env) => metricsApp.fetch(request, env),
    });
    for (const { server, closeIdle } of [this.#api, this.#control]) {
      // While draining, a kept connection is closed as soon as its answer is out.
      server.on("request", (_incoming, outgoing) => {
        outgoing.on("close", () => void (this.#draining && closeIdle()));
      });
    }
  }

  async listen(): Promise<HttpAddresses> {
    const { clock } = this.#deps;
    const config = this.#deps.config();
    try {
      const api = await bindTcp(this.#api.server, config.listen_address, config.port, clock);
      const metrics = config.metrics_enabled
        ? await bindTcp(this.#metrics.server, config.metrics_listen_address, config.metrics_port, clock)
        : null;
      await this.#bindControl(config.control_socket);
      return { api, metrics, control: config.control_socket };
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #bindControl(path: string): Promise<void> {
    const { controlFd: fd, clock } = this.#deps;
    if (fd !== undefined) return await listening(this.#control.server, { fd }, clock);
    this.#removeSocket = await bindControlSocket(path, async (born) => {
      if (canServeHttpOnUnixSockets()) await listening(this.#control.server, { path: born }, clock);
      else this.#serveControl(born);
    });
  }

  async drain(): Promise<void> {
    this.#draining = true;
    await Promise.all([this.#api, this.#control].map(({ server, closeIdle }) => {
      const closed = stopped(server);
      closeIdle();
      return closed;
    }));
  }

  async close(): Promise<void> {
    this.#draining = true;
    await Promise.all([this.#api, this.#control, this.#metrics].map(({ server }) => {
      const closed = stopped(server);
      server.closeAllConnections();
      return closed;
    }));
    await Promise.all(this.#endings.splice(0).map((end) => end()));
    await this.#removeSocket();
  }
}

function listening(
  server: http.Server,
  where: { host: string; port: number } | { path: string } | { fd: number },
  clock: Clock,
) {
  return new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ ...where, backlog: BACKLOG }, () => {
      server.off("error", reject);
      const keeping = keepAccepting(server, BACKLOG, clock);
      server.once("close", () => keeping.cancel());
      resolve();
    });
  });
}

async function bindTcp(server: http.Server, host: string, port: number, clock: Clock): Promise<string> {
  try {
    await listening(server, { host, port }, clock);
  } catch (error) {
    throw new Error(`Cannot listen on ${host}:${port}: ${messageOf(error)}`, { cause: error });
  }
  const bound = server.address() as AddressInfo;
  return bound.family === "IPv6" ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`;
}

/** Resolves when the server listens no more and its last connection has ended; at once when it never listened. */
function stopped(server: http.Server): Promise<void> {
  return new Promise((resolve) => {
    // The only error close() knows is that it is closed already.
    if (!server.listening) return resolve();
    server.close(() => resolve());
  });
}
