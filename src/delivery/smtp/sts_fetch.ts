/**
 * Fetches a policy file (RFC 8461 3.3): HTTPS with a certificate that is valid for `mta-sts.<domain>`, status 200
 * and nothing else, no redirects, text/plain, at most 64 KB, one deadline. The connection goes to the addresses
 * that were checked, never to what the name says a moment later.
 */

import https from "node:https";
import type { IncomingMessage } from "node:http";

export interface StsFetch {
  host: string;
  port: number;
  /** The only ones that may be connected to. */
  addresses: string[];
  ca?: string[] | undefined;
  /** Ends it, whatever it is doing. */
  signal: AbortSignal;
}

const BODY_BYTES_MAX = 64 * 1024;
const HEADER_BYTES_MAX = 16 * 1024;

type LookupCallback = (
  error: Error | null,
  address: string | { address: string; family: number }[],
  family?: number,
) => void;

/** The file's text. Rejects with the reason, safe to show. */
export function fetchSts({ host, port, addresses, ca, signal }: StsFetch): Promise<string> {
  const pinned = addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
  const lookup = (_name: string, options: { all?: boolean }, callback: LookupCallback) => {
    if (options.all) callback(null, pinned);
    else callback(null, pinned[0]!.address, pinned[0]!.family);
  };
  const agent = new https.Agent({ keepAlive: false });
  return new Promise<string>((resolve, reject) => {
    const request = https.request({
      host,
      port,
      path: "/.well-known/mta-sts.txt",
      method: "GET",
      agent,
      lookup,
      servername: host,
      rejectUnauthorized: true,
      minVersion: "TLSv1.2",
      maxHeaderSize: HEADER_BYTES_MAX,
      headers: { host, accept: "text/plain", connection: "close" },
      ...(ca && { ca }),
    } as https.RequestOptions);
    const fail = (reason: string) => {
      request.destroy();
      reject(new Error(reason));
    };
    const abort = () => fail("no answer in time");
    signal.addEventListener("abort", abort, { once: true });
    request.on("close", () => {
      signal.removeEventListener("abort", abort);
      reject(new Error("connection lost"));
    });
    request.on("error", (error: Error & { code?: string }) =>
      fail(
        /CERT|SELF_SIGNED|UNABLE_TO_|ALTNAME/.test(error.code ?? "")
          ? "certificate not valid"
          : "connection failed",
      ));
    request.on("upgrade", (_response, socket) => {
      socket.destroy();
      fail("not status 200");
    });
    request.on("response", (response) => readBody(response, resolve, fail));
    if (signal.aborted) return abort();
    request.end();
  }).finally(() => agent.destroy());
}

function readBody(
  response: IncomingMessage,
  done: (text: string) => void,
  fail: (reason: string) => void,
): void {
  const type = (response.headers["content-type"] ?? "").split(";")[0]!.trim().toLowerCase();
  if (response.statusCode !== 200) return fail(`status ${response.statusCode}`);
  if (type !== "text/plain") return fail("not text/plain");
  const chunks: Uint8Array[] = [];
  let size = 0;
  response.on("data", (chunk: Uint8Array) => {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) return fail("longer than 64 KB");
    chunks.push(chunk.slice());
  });
  response.on("end", () => {
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const chunk of chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    done(new TextDecoder().decode(bytes));
  });
  response.on("error", () => fail("connection lost"));
  response.on("aborted", () => fail("connection lost"));
}
