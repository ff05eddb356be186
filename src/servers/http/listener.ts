/**
 * A node:http server as a public door needs it: deadlines for headers and for slow readers, limits for headers
 * and connections, and JSON answers even where no request could be parsed (RFC 9112; the core would answer those
 * with an empty page or just close). node:http instead of Deno.serve, because that has no deadline for headers
 * and takes requests without Host.
 */

import http, { type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { getRequestListener, type HttpBindings } from "@hono/node-server";
import { plainAddress } from "../../base/address.ts";
import type { Clock } from "../../base/clock.ts";
import { HTTP_STATUS, messageOf } from "../../base/errors.ts";
import { isSafeRequestId, newId } from "../../base/id.ts";
import { Turns } from "../../base/turns.ts";
import { problem, problemBody, problemResponse } from "./problem.ts";
import { Strangers, type StrangersOptions } from "./strangers.ts";
import type { ApiEnv, HttpConfig, Problem } from "./types.ts";

/** Room for a hundred X-Original-Recipient fields of full length. */
const HEADER_BYTES_MAX = 64 * 1024;
const CONNECTIONS_MAX = 4096;
/** How long, and how much of, an unwanted body is still read after its answer. */
const LINGER_MS = 5000;
const LINGER_BYTES = 64 * 2 ** 20;

export type Fetch = (request: Request, env: ApiEnv["Bindings"]) => Response | Promise<Response>;

export interface ListenerOptions extends StrangersOptions {
  fetch: Fetch;
  config: () => Pick<
    HttpConfig,
    | "read_timeout"
    | "write_timeout"
    | "idle_timeout"
    | "handler_timeout"
    | "rate_limit_exempt"
    | "trusted_proxies"
  >;
}

export interface Listener {
  readonly server: http.Server;
  /** Closes every connection on which no request is being answered: kept ones, and those that never sent one whole. */
  closeIdle(): void;
}

/** How long a request may take to arrive. The body has a deadline of its own, which can still answer. */
function deadlines({ read_timeout, handler_timeout }: ReturnType<ListenerOptions["config"]>) {
  // The second is for a handler that never reads.
  return { headersTimeout: read_timeout, requestTimeout: read_timeout * 2 + handler_timeout };
}

/** The server, not listening yet. */
export function createListener(options: ListenerOptions): Listener {
  const { read_timeout, idle_timeout } = options.config();
  const server = http.createServer({
    ...deadlines(options.config()),
    connectionsCheckingInterval: Math.min(1000, Math.max(20, Math.round(read_timeout / 4))),
    keepAliveTimeout: idle_timeout,
    maxHeaderSize: HEADER_BYTES_MAX,
    // The core's answer to a missing Host is not JSON; ours is below.
    requireHostHeader: false,
  });
  // The core would drop headers over a number in silence, and with them recipients. Their bytes are limited.
  server.maxHeadersCount = 0;
  server.maxConnections = CONNECTIONS_MAX;
  /** Each open connection with its latest answer; the core counts a connection without a request as busy. */
  const sockets = new Map<Duplex, ServerResponse | null>();
  const strangers = new Strangers(options, CONNECTIONS_MAX);
  server.on("connection", (socket) => {
    // The core reads them each time it checks, so that a reload holds from the next connection on, for all of them.
    Object.assign(server, deadlines(options.config()));
    if (!strangers.admit(socket, socket.remoteAddress)) return socket.destroy();
    sockets.set(socket, null);
    socket.on("close", () => sockets.delete(socket));
  });
  const turns = new Turns(options.clock);
  server.on("close", () => turns.stop());
  const toHono = honoListener(options, turns, strangers);
  const serve = (incoming: IncomingMessage, outgoing: ServerResponse, expectsContinue: boolean) => {
    sockets.set(incoming.socket, outgoing);
    watchReader(outgoing, options);
    outgoing.on("finish", () => linger(incoming, options.clock));
    toHono(incoming, outgoing, expectsContinue);
  };
  server.on("request", (incoming, outgoing) => serve(incoming, outgoing, false));
  server.on("checkContinue", (incoming, outgoing) => serve(incoming, outgoing, true));
  // RFC 9110 10.1.1 lets a server ignore an expectation that it does not know.
  server.on("checkExpectation", (incoming, outgoing) => serve(incoming, outgoing, false));
  server.on("connect", (_request, socket: Duplex) => {
    rawAnswer(socket, problem("method_not_allowed", "This is no proxy"), options, true);
  });
  server.on("clientError", (error: Error & { code?: string }, socket: Duplex) => {
    const running = sockets.get(socket);
    // Half an answer is out: a second one in its middle would be read as part of it.
    const inAnswer = running && running.headersSent && !running.writableFinished;
    if (error.code === "ECONNRESET" || !socket.writable || inAnswer) return socket.destroy();
    const idle = !running || running.writableFinished;
    rawAnswer(socket, problemOf(error.code ?? ""), options, idle);
  });
  const closeIdle = () => {
    for (const [socket, outgoing] of sockets) {
      // An answer whose request is still coming in lingers; that ends by itself.
      if (!outgoing || (outgoing.writableFinished && outgoing.req.complete)) socket.destroy();
    }
  };
  return { server, closeIdle };
}

/** The parser's codes; every HPE_ but one means that this is no HTTP/1.1 as RFC 9112 has it. */
function problemOf(code: string): Problem {
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") {
    return problem("request_timeout", "Request did not arrive in time");
  }
  if (code === "HPE_HEADER_OVERFLOW") {
    return problem("headers_too_large", "Request headers are larger than we accept");
  }
  return problem("validation_error", "Cannot read the request: it is not valid HTTP/1.1");
}

/** Answers on a bare socket and closes it. `counted` is false when a handler's own line and count tell of this request. */
function rawAnswer(socket: Duplex, answer: Problem, options: ListenerOptions, counted: boolean): void {
  const requestId = newId();
  const status = HTTP_STATUS[answer.problem];
  const peer = (socket as Partial<IncomingMessage["socket"]>).remoteAddress;
  if (counted) tell(answer, requestId, peer, options);
  const body = problemBody(answer, requestId);
  socket.on("error", () => {
    // The client went away while we told it what was wrong; nothing is left to do.
  });
  socket.end(
    `HTTP/1.1 ${status} ${http.STATUS_CODES[status]}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${new TextEncoder().encode(body).length}\r\nX-Request-ID: ${requestId}\r\n` +
      `Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n` +
      `${status === 405 ? "Allow: GET, HEAD, POST, DELETE\r\n" : ""}Connection: close\r\n\r\n${body}`,
  );
}

/** Counts a request that never got to the middleware, and writes its line. */
function tell(answer: Problem, requestId: string, peer: string | undefined, options: ListenerOptions): void {
  const { metrics, log, door } = options;
  const status = HTTP_STATUS[answer.problem];
  metrics.httpRequests.inc({ method: "other", endpoint: "other", status: String(status) });
  metrics.errors.inc({ type: answer.problem });
  if (answer.problem === "request_timeout") metrics.timeouts.inc();
  log.info("HTTP request refused", {
    error: answer.problem,
    status,
    request_id: requestId,
    client: peer ? plainAddress(peer) : door,
  });
}

/** Hands a parsed request to hono, after what the parser lets through and RFC 9112 does not. */
function honoListener(options: ListenerOptions, turns: Turns, strangers: Strangers) {
  const { door, log } = options;
  const failed = (error: unknown): Response => {
    // node-server's own errors are about the request target and Host; anything else is ours.
    const theirs = error instanceof Error && error.name === "RequestError";
    if (!theirs) log.error("HTTP request failed outside the app", { error: messageOf(error) });
    const answer = theirs
      ? problem("validation_error", "Cannot read the request: its target or Host is not valid")
      : problem("internal_error", "Internal error");
    return bare(answer, options);
  };
  const listeners = [false, true].map((expectsContinue) =>
    getRequestListener(
      (request, bindings) => {
        const { incoming } = bindings as HttpBindings;
        const wrong = hostProblem(incoming) ?? codingProblem(incoming);
        if (wrong) return bare(wrong, options, incoming);
        const known = () => strangers.known(incoming.socket);
        return options.fetch(request, { ...(bindings as HttpBindings), door, expectsContinue, turns, known });
      },
      {
        overrideGlobalObjects: false,
        autoCleanupIncoming: false,
        hostname: "localhost",
        errorHandler: failed,
      },
    )
  );
  return (incoming: IncomingMessage, outgoing: ServerResponse, expectsContinue: boolean) => {
    listeners[expectsContinue ? 1 : 0]!(incoming, outgoing).catch((error) => {
      log.error("HTTP answer failed", { error: messageOf(error) });
      outgoing.destroy();
    });
  };
}

/** For requests that don't get as far as the middleware; without `incoming` they could not be read at all. */
function bare(answer: Problem, options: ListenerOptions, incoming?: IncomingMessage): Response {
  const given = String(incoming?.headers["x-request-id"] ?? "");
  const requestId = isSafeRequestId(given) ? given : newId();
  tell(answer, requestId, incoming?.socket.remoteAddress, options);
  const response = problemResponse(answer, requestId);
  response.headers.set("x-request-id", requestId);
  return response;
}

/** HTTP/1.1 needs exactly one Host (RFC 9112 3.2). */
function hostProblem(incoming: IncomingMessage): Problem | null {
  const hosts = incoming.rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === "host").length;
  if (hosts === 1 || (hosts === 0 && incoming.httpVersion === "1.0")) return null;
  return problem(
    "validation_error",
    `Cannot read the request: it has ${hosts === 0 ? "no" : "more than one"} Host`,
  );
}

/** The parser undoes chunked and nothing else (RFC 9112 6.1): what is coded otherwise would be stored as a mail. */
function codingProblem(incoming: IncomingMessage): Problem | null {
  const coding = incoming.headers["transfer-encoding"];
  if (coding === undefined || coding.trim().toLowerCase() === "chunked") return null;
  return problem("validation_error", "Cannot read the request: its Transfer-Encoding must be chunked");
}

/** Ends the connection of a client that takes nothing of its answer for write_timeout. */
function watchReader(outgoing: ServerResponse, options: ListenerOptions): void {
  const socket = outgoing.socket;
  if (!socket) return;
  const periodMs = options.config().write_timeout;
  let seen = -1;
  const look = () => {
    // What waits in our buffer was counted as written already: progress is what has left it.
    const gone = outgoing.headersSent ? socket.bytesWritten - socket.writableLength : -1;
    if (gone >= 0 && gone === seen) {
      options.log.info("HTTP client does not read its answer", {
        client: plainAddress(socket.remoteAddress ?? ""),
      });
      options.metrics.timeouts.inc();
      return socket.destroy();
    }
    seen = gone;
    timer = options.clock.timer(periodMs, look);
  };
  let timer = options.clock.timer(periodMs, look);
  outgoing.on("close", () => timer.cancel());
}

/**
 * Reads on for a while when the answer came before the end of the body: closing at once would reset the connection,
 * and a client that sends first and reads later would never see why (RFC 9112 9.6).
 */
function linger(incoming: IncomingMessage, clock: Clock): void {
  if (incoming.complete || incoming.destroyed) return;
  let bytes = 0;
  const { socket } = incoming;
  const timer = clock.timer(LINGER_MS, () => socket.destroySoon());
  const stop = () => {
    timer.cancel();
    socket.off("close", stop);
  };
  const onData = (chunk: Uint8Array) => {
    bytes += chunk.length;
    if (bytes <= LINGER_BYTES) return;
    // Once: each call leaves a listener behind.
    incoming.off("data", onData);
    socket.destroySoon();
  };
  incoming.on("data", onData);
  incoming.on("error", () => {
    // The client gave up sending what nobody wanted.
  });
  socket.on("close", stop);
  incoming.on("end", stop).resume();
}
