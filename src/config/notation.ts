/**
 * How people write values in a config: durations (`30s`, `5m`, `3d`, whole seconds), sizes (`25MB`, bytes),
 * listen addresses, domain names, networks. Pure functions that return null for what they can't read; the
 * schema turns null into a problem with a remedy. Inside the program everything is milliseconds, bytes and
 * A-labels.
 */

import { parseAddress } from "../base/address.ts";
import { normalizeDomain } from "../mail/address.ts";

const DURATION_UNITS: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** One or more numbers with a unit, as Go wrote them (`1h30m`), or whole seconds. */
export const DURATION_PATTERN = /^(?:\d{1,12}|(?:\d{1,12}(?:ms|s|m|h|d))+)$/;

export function parseDuration(value: string | number): number | null {
  const text = String(value);
  if (!DURATION_PATTERN.test(text)) return null;
  if (/^\d+$/.test(text)) return Number(text) * 1000;
  let totalMs = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g)) {
    totalMs += Number(count) * DURATION_UNITS[unit!]!;
  }
  return totalMs;
}

/** The shortest exact way to write it: 90000 is `90s`, 3600000 is `1h`. */
export function formatDuration(ms: number): string {
  for (const unit of ["d", "h", "m", "s"]) {
    const size = DURATION_UNITS[unit]!;
    if (ms !== 0 && ms % size === 0) return `${ms / size}${unit}`;
  }
  return ms === 0 ? "0s" : `${ms}ms`;
}

/** MB is 1024 x 1024, as mail software has always counted. */
const SIZE_UNITS: Record<string, number> = {
  "": 1,
  B: 1,
  KB: 2 ** 10,
  MB: 2 ** 20,
  GB: 2 ** 30,
  TB: 2 ** 40,
};

export const SIZE_PATTERN = /^\d{1,15} ?(?:[KMGT]?B)?$/i;

export function parseSize(value: string | number): number | null {
  const text = String(value);
  if (!SIZE_PATTERN.test(text)) return null;
  const [, digits, unit] = /^(\d+) ?([A-Z]*)$/i.exec(text)!;
  const bytes = Number(digits) * SIZE_UNITS[unit!.toUpperCase()]!;
  return Number.isSafeInteger(bytes) ? bytes : null;
}

export function formatSize(bytes: number): string {
  for (const unit of ["TB", "GB", "MB", "KB"]) {
    const size = SIZE_UNITS[unit]!;
    if (bytes !== 0 && bytes % size === 0) return `${bytes / size}${unit}`;
  }
  return String(bytes);
}

export type ListenAddress = { host: string; port: number } | { path: string };

/** `host:port`, `[v6]:port` or `unix:/path`. Port 0 asks the system for a free one. */
export function parseListen(value: string): ListenAddress | null {
  if (value.startsWith("unix:")) {
    const path = value.slice(5);
    return path.startsWith("/") && path.length > 1 ? { path } : null;
  }
  const parts = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(value);
  if (!parts) return null;
  const port = Number(parts[3]);
  if (port > 65535) return null;
  const host = parts[1] ?? parts[2]!;
  // Only an IPv6 address may stand in brackets, and it must.
  if (parts[1] !== undefined) return host.includes(":") && parseAddress(host) ? { host, port } : null;
  return parseAddress(host) !== null || readDomain(host) !== null ? { host, port } : null;
}

/** `[::]` is dual stack, and the two can't both be bound: a pair of both on one port is the one. */
export function mergeWildcards(entries: readonly string[]): string[] {
  const unique = [...new Set(entries)];
  return unique.filter((entry) => {
    const port = /^0\.0\.0\.0:(\d+)$/.exec(entry)?.[1];
    return port === undefined || !unique.includes(`[::]:${port}`);
  });
}

/** Lower-case A-labels, a final dot taken off; null where that is no domain name. */
export function readDomain(value: string): string | null {
  return normalizeDomain(value.trim().replace(/\.$/, ""));
}

/** Null where it is no http or https URL. */
export function parseHttpUrl(value: string): URL | null {
  const url = URL.parse(value);
  return url !== null && (url.protocol === "http:" || url.protocol === "https:") && url.hostname !== ""
    ? url
    : null;
}

/** A comma-separated list: empty entries and spaces around are nothing. */
export function splitList(value: string): string[] {
  return value.split(",").map((entry) => entry.trim()).filter((entry) => entry !== "");
}
