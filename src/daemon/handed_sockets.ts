/**
 * `mode: socket`: listening sockets that the service manager opened and hands over (sd_listen_fds(3)), so that
 * port 25 needs no capability here and no connection is lost while the daemon restarts. Sockets are told apart
 * by name (FileDescriptorName=, else the socket unit's own name): the first of smtp, proxy, lmtp and control
 * that the name contains.
 */

import type { DoorKind } from "../servers/smtp/mod.ts";

export interface HandedSockets {
  smtp: { kind: DoorKind; fd: number }[];
  control: number | null;
  /** Names that say nothing to us; their sockets are left alone. */
  unknown: string[];
}

/** SD_LISTEN_FDS_START: 0 to 2 are the standard streams. */
const FIRST_FD = 3;
const SOCKETS_MAX = 64;
const DOORS: readonly DoorKind[] = ["smtp", "proxy", "lmtp"];

/** Null when nothing was handed to this very process. */
export function handedSockets(env: (name: string) => string | undefined, pid: number): HandedSockets | null {
  const count = Number(env("LISTEN_FDS") ?? 0);
  if (env("LISTEN_PID") !== String(pid) || !Number.isInteger(count) || count < 1) return null;
  const names = (env("LISTEN_FDNAMES") ?? "").split(":");
  const found: HandedSockets = { smtp: [], control: null, unknown: [] };
  for (let i = 0; i < Math.min(count, SOCKETS_MAX); i++) {
    const name = (names[i] ?? "").toLowerCase();
    const fd = FIRST_FD + i;
    const kind = DOORS.find((door) => name.includes(door));
    if (name.includes("control")) found.control ??= fd;
    else if (kind) found.smtp.push({ kind, fd });
    else found.unknown.push(name);
  }
  return found;
}
