/**
 * What this process runs on. Built with the Deno named here; older ones lack things that a mail host can't do
 * without, and where one is used all the same (an executable made where the right runtime was not to be had)
 * it must say so instead of hanging.
 */

/** The one place where the Deno version is pinned; builds, README and CI are held to it by tests. */
export const DENO_VERSION = "2.9.6";

/**
 * From this version on (2.8.0 was tried) node's servers do what they do in Node. With 2.7.11 a server-side TLS
 * handshake never ends, sockets that were handed over can't be listened on, and an HTTP server that is told a
 * path listens on a free TCP port of all addresses instead.
 */
const SERVERS_WHOLE_SINCE: readonly [number, number] = [2, 8];

function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [a = 0, b = 0] = version.split(".").map(Number);
  return a > major || (a === major && b >= minor);
}

/** Whether STARTTLS can be offered. */
export function canServeTls(version: string = Deno.version.deno): boolean {
  return isAtLeast(version, SERVERS_WHOLE_SINCE);
}

/** Whether sockets from the service manager can be listened on (`mode: socket`). */
export const canTakeSockets = canServeTls;

/** Whether node:http can listen on a unix socket. */
export const canServeHttpOnUnixSockets = canServeTls;

/** Whether a listening socket may be told to listen anew; with 2.7.11 it refuses connections from then on. */
export const canListenAnew = canServeTls;

/** Whether a client's STARTTLS ends, and a request may bring its own look-up; with 2.7.11 neither. */
export const canCallByTls = canServeTls;

/** An executable on another runtime than the one we ship on: fit for testing the package, not for mail. */
export function isPackagingTest(): boolean {
  return Deno.build.standalone && Deno.version.deno !== DENO_VERSION;
}
