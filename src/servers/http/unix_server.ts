/**
 * The control socket on runtimes whose node:http can't listen on one (Deno before 2.8, which only packaging-test
 * executables have): Deno's own server, with as much of a node request as the app looks at. Its body is held in
 * memory, which is enough for what the commands send.
 */

import { Readable } from "node:stream";
import type { Fetch } from "./listener.ts";
import type { Turns } from "../../base/turns.ts";
import type { ApiEnv } from "./types.ts";

export interface UnixServer {
  /** Resolves when the requests in flight are answered. */
  close(): Promise<void>;
}

/** Serves `app` at `path`, whose file exists when this returns. */
export function serveOnUnixSocket(path: string, app: Fetch, turns: Turns): UnixServer {
  const server = Deno.serve({ path, onListen: () => {} }, async (request) => {
    const body = new Uint8Array(await request.arrayBuffer());
    const pairs = [...request.headers];
    const incoming = Object.assign(Readable.from(body.length > 0 ? [body] : []), {
      headers: Object.fromEntries(pairs),
      rawHeaders: pairs.flat(),
      httpVersion: "1.1",
      complete: true,
      socket: {},
    });
    const outgoing = { writeContinue() {}, destroy() {} };
    const env = { incoming, outgoing, door: "control", expectsContinue: false, turns, known() {} };
    // The app's own view of a node request is this narrow; body.ts and stored_bytes.ts are all that look at it.
    return await app(request, env as unknown as ApiEnv["Bindings"]);
  });
  return { close: () => server.shutdown() };
}
