/**
 * Talks to the running daemon: the HTTP API over its unix socket, where the file's mode is the access check
 * and no token is needed. Everything that goes wrong becomes one line that says what to do.
 */

import { messageOf } from "../base/errors.ts";
import { outsideAccess, SOCKET_OUTSIDE } from "../base/places.ts";
import { printable } from "../base/printable.ts";
import { CommandError, UnaskedError } from "./command.ts";

/** A page of 500 messages is far below; more would be somebody else's server. */
const ANSWER_BYTES_MAX = 64 * 2 ** 20;
const ANSWER_TIMEOUT_MS = 60_000;

export type Query = Record<string, string | number | undefined>;

export interface ControlClient {
  request(method: "GET" | "POST" | "DELETE", path: string, options?: RequestOptions): Promise<unknown>;
  /** The answer's bytes as they come, for what may be large. */
  download(path: string): Promise<ReadableStream<Uint8Array>>;
}

/** Undefined query values are left out. */
export interface RequestOptions {
  query?: Query;
  body?: unknown;
  /** Gives up. */
  signal?: AbortSignal;
  /** Statuses besides 2xx whose body is an answer, and no error. */
  alsoTakes?: readonly number[];
}

/** A path's part from an argument. `..` would be another path: URLs resolve it, percent-encoded too. */
export function segment(text: string): string {
  if (/^\.*$/.test(text)) {
    throw new CommandError(`Cannot look up "${text.slice(0, 64)}": that is no name or id`);
  }
  return encodeURIComponent(text);
}

/** fetch() says little about why; a bare connection tells the three cases apart. */
async function probe(socketPath: string): Promise<void> {
  const shown = printable(socketPath);
  try {
    (await Deno.connect({ transport: "unix", path: socketPath })).close();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      throw new CommandError(
        `Cannot reach the daemon: ${shown} does not exist; start it with \`gomail server\``,
      );
    }
    if (error instanceof Deno.errors.ConnectionRefused) {
      throw new CommandError(
        `Cannot reach the daemon: nobody listens on ${shown}; start it with \`gomail server\``,
      );
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new UnaskedError(
        `Cannot reach the daemon: ${shown} is not open to this user; use sudo, or join the socket's group`,
      );
    }
    if (outsideAccess(error)) {
      const { reason, remedy } = SOCKET_OUTSIDE;
      throw new UnaskedError(`Cannot reach the daemon: ${shown} ${reason}: ${remedy}`);
    }
    throw new CommandError(`Cannot reach the daemon: ${printable(messageOf(error))}`);
  }
}

/** Our own daemon answers, yet a socket path can be mistyped: nothing is read without an end. */
async function readLimited(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let total = 0;
  for await (const chunk of response.body ?? []) {
    total += chunk.length;
    if (total > ANSWER_BYTES_MAX) throw new CommandError("Cannot read the daemon's answer: it is too large");
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** The API's own error message, else the status. */
async function failure(response: Response): Promise<CommandError> {
  const text = await readLimited(response);
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "object" && body !== null && "message" in body && typeof body.message === "string") {
      return new CommandError(printable(body.message));
    }
  } catch {
    // Not JSON, so not our API: the status is all there is to say.
  }
  return new CommandError(`Cannot use the daemon's answer: HTTP status ${response.status}`);
}

/** Runs `use` with a client, and closes its connections whatever happens. */
export async function withControl<T>(
  socketPath: string,
  use: (client: ControlClient) => Promise<T>,
): Promise<T> {
  await probe(socketPath);
  const client = Deno.createHttpClient({ proxy: { transport: "unix", path: socketPath } });
  const send = async (method: string, path: string, options: RequestOptions, timeoutMs?: number) => {
    const url = new URL(path, "http://localhost");
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const hasBody = options.body !== undefined;
    const timeout = timeoutMs === undefined ? [] : [AbortSignal.timeout(timeoutMs)];
    const signals = [...timeout, ...(options.signal ? [options.signal] : [])];
    const response = await fetch(url, {
      method,
      client,
      ...(hasBody && { body: JSON.stringify(options.body), headers: { "content-type": "application/json" } }),
      ...(signals.length > 0 && { signal: AbortSignal.any(signals) }),
    });
    if (!response.ok && !options.alsoTakes?.includes(response.status)) throw await failure(response);
    return response;
  };
  try {
    return await use({
      async request(method, path, options = {}) {
        const text = await readLimited(await send(method, path, options, ANSWER_TIMEOUT_MS));
        return text === "" ? null : JSON.parse(text) as unknown;
      },
      async download(path) {
        const response = await send("GET", path, {});
        return response.body ?? new ReadableStream({ start: (controller) => controller.close() });
      },
    });
  } catch (error) {
    if (error instanceof CommandError) throw error;
    const reason = error instanceof DOMException && error.name === "TimeoutError"
      ? `no answer within ${ANSWER_TIMEOUT_MS / 1000} s`
      : error instanceof SyntaxError
      ? "its answer is not JSON"
      : "the connection broke";
    throw new CommandError(`Cannot talk to the daemon: ${reason}`, { cause: error });
  } finally {
    client.close();
  }
}
