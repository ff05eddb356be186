/**
 * Where the load goes, and what speaks against it. A load generator is a weapon in the wrong direction: everything
 * that could send somebody else ten thousand mails is a doubt, and a doubt needs `--yes`.
 */

import { lookup } from "node:dns/promises";
import { isPublic, parseAddress } from "../../base/address.ts";
import { printable } from "../../base/printable.ts";
import type { Config } from "../../config/schema.ts";
import { parseListen } from "../../config/notation.ts";
import { CommandError, UsageError } from "../command.ts";
import type { ClientTarget } from "./smtp_client.ts";

/** Looked up once: what is checked is what is connected to. */
export interface Target extends ClientTarget {
  /** As it was written. */
  shown: string;
  isPublic: boolean;
}

const SMTP_PORT = 25;

/** `host`, `host:port`, `[v6]:port` or an address. */
function hostAndPort(text: string): { host: string; port: number } {
  if (parseAddress(text)) return { host: text, port: SMTP_PORT };
  const listen = parseListen(/:\d+$/.test(text) ? text : `${text}:${SMTP_PORT}`);
  if (listen === null || "path" in listen || listen.port === 0) {
    throw new UsageError(`${printable(text.slice(0, 64))} is not host:port`);
  }
  return listen;
}

/** Loopback, at the port of the first SMTP door: for all that listens on this host. */
export function ownTarget(config: Pick<Config, "smtp_listen">): string | null {
  for (const entry of config.smtp_listen) {
    const listen = parseListen(entry);
    if (listen === null || "path" in listen || listen.port === 0) continue;
    // The wildcard of IPv6 is dual stack here.
    if (listen.host === "0.0.0.0" || listen.host === "::") return `127.0.0.1:${listen.port}`;
    return listen.host.includes(":") ? `[${listen.host}]:${listen.port}` : `${listen.host}:${listen.port}`;
  }
  return null;
}

export async function resolveTarget(text: string): Promise<Target> {
  const { host, port } = hostAndPort(text);
  const literal = parseAddress(host);
  if (literal) return { shown: text, host: literal.text, port, name: null, isPublic: isPublic(literal) };
  let addresses: string[];
  try {
    addresses = (await lookup(host, { all: true })).map(({ address }) => address);
  } catch {
    // Whatever the resolver says: there is no address to send to.
    throw new CommandError(`Cannot find ${printable(host)}: it has no address`);
  }
  // Of several the one that is tried is the one that is checked.
  const chosen = addresses[0];
  if (chosen === undefined) throw new CommandError(`Cannot find ${printable(host)}: it has no address`);
  return { shown: text, host: chosen, port, name: host, isPublic: isPublic(chosen) };
}

/** In words, what needs a `--yes`. `ours`: the domains that are known to be ours, or null where none could be read. */
export function doubts(target: Target, domain: string, ours: readonly string[] | null): string[] {
  const found: string[] = [];
  if (target.isPublic) found.push(`${printable(target.shown)} is on the open Internet`);
  if (ours === null) {
    found.push(`nothing here says whether ${printable(domain)} is ours: no configuration and no daemon`);
  } else if (!ours.includes(domain)) found.push(`${printable(domain)} is not among our domains`);
  return found;
}
