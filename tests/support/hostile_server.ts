/**
 * A server that says what an HTTP library would never say: bytes from a script, to whoever connects. What each
 * answer is hostile by is written with it, once, for the tests of the door and for those of the whole daemon.
 */

import { until } from "./until.ts";

type Send = (text: string) => Promise<void>;
type Script = (send: Send) => Promise<void>;

const READ_BYTES_MAX = 64 * 1024;

async function forEver(send: Send, text: string): Promise<void> {
  const much = text.repeat(Math.ceil(20_000 / text.length));
  for (;;) await send(much);
}

/** Without an end, unless it says otherwise. */
export const HOSTILE = {
  /** RFC 9110 15.2: any number of them is allowed. */
  interim: (send) => forEver(send, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
  continue: (send) => forEver(send, "HTTP/1.1 100 Continue\r\n\r\n"),
  /** RFC 9112 2.2: a parser skips them. */
  blankLines: (send) => forEver(send, "\r\n"),
  headers: async (send) => {
    await send("HTTP/1.1 200 OK\r\n");
    await forEver(send, `X-A: ${"y".repeat(500)}\r\n`);
  },
  emptyHeaders: async (send) => {
    await send("HTTP/1.1 200 OK\r\n");
    await forEver(send, "X:\r\n");
  },
  oneHeader: async (send) => {
    await send("HTTP/1.1 200 OK\r\nX: ");
    await forEver(send, "y");
  },
  reason: async (send) => {
    await send("HTTP/1.1 200 ");
    await forEver(send, "y");
  },
  body: async (send) => {
    await send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n");
    await forEver(send, "y");
  },
  /** RFC 9112 7.1.1 */
  chunkExtension: async (send) => {
    await send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1;");
    await forEver(send, "a=b;");
  },
  trailers: async (send) => {
    await send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    await forEver(send, `X-A: ${"y".repeat(500)}\r\n`);
  },
  /** Ends: two lengths. */
  lengths: (send) => send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
} satisfies Record<string, Script>;

export type HostileWay = keyof typeof HOSTILE;

export interface HostileServer {
  readonly port: number;
  readonly connections: number;
  /** After the scripts' ends. */
  readonly receivedBytes: number;
  /** Resolves when every connection has ended, each from the other side; rejects when that takes long. */
  allEnded(): Promise<void>;
  close(): Promise<void>;
}

/** `scriptOf` gets the request's path without its slash. A script's end leaves the connection open. */
export function startHostileServer(scriptOf: (path: string) => Script): HostileServer {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const running = new Set<Promise<void>>();
  const open = new Set<Deno.Conn>();
  let connections = 0;
  let receivedBytes = 0;
  const serve = async (connection: Deno.Conn): Promise<void> => {
    const encoder = new TextEncoder();
    const send: Send = async (text) => {
      const bytes = encoder.encode(text);
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    };
    try {
      const start = new Uint8Array(4096);
      const count = await connection.read(start) ?? 0;
      const path = /^[A-Z]+ \/(\S*)/.exec(new TextDecoder().decode(start.subarray(0, count)))?.[1] ?? "";
      await scriptOf(path)(send);
      const rest = new Uint8Array(READ_BYTES_MAX);
      for (let n; (n = await connection.read(rest)) !== null;) receivedBytes += n;
    } catch {
      // The other side has had enough, or we close.
    } finally {
      open.delete(connection);
      try {
        connection.close();
      } catch {
        // close() was quicker.
      }
    }
  };
  const accepting = (async () => {
    for await (const connection of listener) {
      connections++;
      open.add(connection);
      const served = serve(connection).finally(() => running.delete(served));
      running.add(served);
    }
  })();
  return {
    port: (listener.addr as Deno.NetAddr).port,
    get connections() {
      return connections;
    },
    get receivedBytes() {
      return receivedBytes;
    },
    allEnded: () => until(() => running.size === 0, "the end of each connection"),
    async close() {
      listener.close();
      for (const connection of open) connection.close();
      await accepting;
      await Promise.all(running);
    },
  };
}
