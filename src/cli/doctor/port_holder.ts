/**
 * Who answers at a place, and who holds a port: by what it says when one talks to it, and by the kernel's tables, where they may be read (by
 * root alone, and not at all by the packaged program, whose permissions leave /proc out).
 */

import { parseAddress } from "../../base/address.ts";
import { printable } from "../../base/printable.ts";
import type { ListenAddress } from "../../config/notation.ts";

const ANSWER_BYTES_MAX = 256 * 1024;
const SILENCE_MS_MAX = 1500;
const LISTEN_STATE = "0A";

/** What is said first, if anything, and when enough is heard. */
export interface Talk {
  opening: string;
  isEnough: (heard: string) => boolean;
  closing: string;
}

/** Resolves with what is heard, up to `isEnough`, an end or a silence; null when nobody is there. */
export async function overhear(
  place: ListenAddress,
  talk: Talk,
  signal: AbortSignal,
  silenceMs = SILENCE_MS_MAX,
): Promise<string | null> {
  let connection: Deno.Conn;
  try {
    connection = "path" in place
      ? await Deno.connect({ transport: "unix", path: place.path })
      : await Deno.connect({ hostname: place.host, port: place.port, signal });
  } catch {
    // Refused, or not there: which of them makes no difference.
    return null;
  }
  let isClosed = false;
  const close = () => {
    if (!isClosed) connection.close();
    isClosed = true;
  };
  const timer = setTimeout(close, silenceMs);
  signal.addEventListener("abort", close);
  const decoder = new TextDecoder("latin1");
  let heard = "";
  try {
    await connection.write(new TextEncoder().encode(talk.opening));
    const chunk = new Uint8Array(4096);
    while (heard.length < ANSWER_BYTES_MAX && !talk.isEnough(heard)) {
      const count = await connection.read(chunk);
      if (count === null) break;
      heard += decoder.decode(chunk.subarray(0, count));
    }
    await connection.write(new TextEncoder().encode(talk.closing));
  } catch {
    // Closed in the middle, by them or by our own timer: what was heard until then is the answer.
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", close);
    close();
  }
  return heard;
}

/** The first address of each family: no host is called more often than that. */
export function oneOfEach(addresses: readonly string[]): string[] {
  return [4, 6].flatMap((family) => addresses.find((text) => parseAddress(text)?.family === family) ?? []);
}

/** Where to knock: a wildcard is no address to connect to. */
export function knockAt(host: string): string[] {
  return host === "::" ? ["127.0.0.1", "::1"] : host === "0.0.0.0" ? ["127.0.0.1"] : [host];
}

/** `socket:[N]` of each listening socket of the port (proc_net_tcp.txt in the kernel's documentation). */
async function listeningSockets(port: number): Promise<Set<string>> {
  const suffix = ":" + port.toString(16).toUpperCase().padStart(4, "0");
  const found = new Set<string>();
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const lines = (await Deno.readTextFile(table).catch(() => "")).split("\n");
    for (const line of lines) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (local?.endsWith(suffix) && state === LISTEN_STATE) found.add(`socket:[${inode}]`);
    }
  }
  return found;
}

async function holds(pid: string, sockets: ReadonlySet<string>): Promise<boolean> {
  for await (const { name } of Deno.readDir(`/proc/${pid}/fd`)) {
    const target = await Deno.readLink(`/proc/${pid}/fd/${name}`).catch(() => "");
    if (sockets.has(target)) return true;
  }
  return false;
}

/** The executable of the process that listens on the port, or its short name; null where that can't be told. */
export async function programOn(port: number, signal: AbortSignal): Promise<string | null> {
  const sockets = await listeningSockets(port);
  if (sockets.size === 0) return null;
  for await (const { name: pid } of Deno.readDir("/proc")) {
    if (signal.aborted) return null;
    // Other users' processes, and those that end meanwhile, say no.
    if (!/^\d+$/.test(pid) || !await holds(pid, sockets).catch(() => false)) continue;
    const exe = await Deno.readLink(`/proc/${pid}/exe`).catch(() => "");
    const comm = await Deno.readTextFile(`/proc/${pid}/comm`).catch(() => "");
    return printable((exe || comm).trim().slice(0, 200)) || null;
  }
  return null;
}
