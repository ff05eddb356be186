/**
 * Where Postfix finds GoMail, and where GoMail finds Postfix: addresses of the config in the notations that
 * Postfix has for them (postconf(5): smtpd_proxy_filter, relay_transport; master(5): service names).
 */

import { inRanges, parseAddress } from "../../base/address.ts";
import { outsideToWrite } from "../../base/places.ts";
import { printable } from "../../base/printable.ts";
import { parseListen } from "../../config/notation.ts";
import { isLoopbackHost } from "../../config/private_host.ts";
import type { Config } from "../../config/schema.ts";
import { CommandError } from "../command.ts";

/** Taken where the config has no such door yet. */
export const DEFAULT_DOOR = { proxy: "127.0.0.1:10025", lmtp: "127.0.0.1:10024" } as const;

export type Way = keyof typeof DEFAULT_DOOR;

/** Debian's, which its services are locked into: they see sockets by their path below it. */
const QUEUE_DIRECTORY = "/var/spool/postfix/";

/**
 * A value from the config as one word of Postfix's. `$`, spaces, commas and braces mean something there, and a
 * value that would need them is refused rather than bent.
 */
export function word(value: string): string {
  if (/^[A-Za-z0-9._~@%+/:[\]-]+$/.test(value)) return value;
  throw new CommandError(
    `Cannot name ${printable(value)} to Postfix: it holds characters that mean something else there`,
  );
}

const bracketed = (host: string) => host.includes(":") ? `[${host}]` : host;

/**
 * `host:port` or `unix:path`, as smtpd_proxy_filter wants it. A TCP door before a socket: it is the one that Postfix
 * can reach from inside its queue directory.
 */
export function doorOf(way: Way, listen: readonly string[]): string {
  const doors = (listen.length === 0 ? [DEFAULT_DOOR[way]] : listen).map((entry) => parseListen(entry)!);
  const door = doors.find((entry) => "host" in entry) ?? doors[0]!;
  if ("path" in door) {
    const isSeen = door.path.startsWith(QUEUE_DIRECTORY);
    if (!isSeen || outsideToWrite(door.path)) {
      const why = isSeen ? "GoMail may not go there" : `Postfix sees sockets below ${QUEUE_DIRECTORY} only`;
      throw new CommandError(
        `Cannot put Postfix in front of ${printable(door.path)}: ${why}; name a loopback port such as ` +
          `${DEFAULT_DOOR[way]} in ${way}_listen`,
      );
    }
    return `unix:${word(door.path.slice(QUEUE_DIRECTORY.length))}`;
  }
  if (door.port === 0) {
    throw new CommandError(`Cannot tell Postfix the port of ${way}_listen: with 0 it changes at every start`);
  }
  // [::] takes IPv4 as well.
  const host = /^(?:0\.0\.0\.0|::)$/.test(door.host) ? "127.0.0.1" : door.host;
  return word(`${bracketed(host)}:${door.port}`);
}

/** The same as relay_transport wants it, for what is in Postfix's queue and meant for our domains. */
export function lmtpTransport(listen: readonly string[]): string {
  const door = doorOf("lmtp", listen);
  return door.startsWith("unix:") ? `lmtp:${door}` : `lmtp:inet:${door}`;
}

/** What gomail.yaml has to say for this way, as far as it doesn't yet. */
export function yamlLines(way: Way, config: Pick<Config, "smtp_listen" | "proxy_listen" | "lmtp_listen">) {
  const lines: string[] = [];
  const isOn25 = (entry: string) => {
    const door = parseListen(entry);
    return door !== null && "port" in door && door.port === 25;
  };
  if (config.smtp_listen.some(isOn25)) {
    const others = config.smtp_listen.filter((entry) => !isOn25(entry));
    lines.push(`smtp_listen: ${others.length === 0 ? "off" : JSON.stringify(others)}`);
  }
  for (const door of way === "proxy" ? ["proxy", "lmtp"] as const : ["lmtp"] as const) {
    const key = `${door}_listen` as const;
    if (config[key].length === 0) lines.push(`${key}: ${DEFAULT_DOOR[door]}`);
  }
  return lines;
}

/** A service of Postfix that takes GoMail's outgoing mail, or why there is none. */
export type Outlet = { service: string; mynetworks: string } | { none: string };

export function outletOf(
  config: Pick<Config, "outbound_transport" | "outbound_smarthost">,
  port25: string,
): Outlet {
  if (config.outbound_transport === "direct") return { none: "outbound_transport is direct" };
  const smarthost = config.outbound_smarthost;
  const door = parseListen(smarthost);
  const host = door === null || "path" in door ? null : door.host === "localhost" ? "127.0.0.1" : door.host;
  if (door === null || "path" in door || host === null || !isLoopbackHost(host) || !parseAddress(host)) {
    return { none: `outbound_smarthost ${printable(smarthost)} is not on this host's loopback` };
  }
  const service = word(`${bracketed(host)}:${door.port}`);
  if (door.port === 25 || service === port25) {
    return {
      none:
        `outbound_smarthost ${service} is where strangers' mail comes in: use another port, such as 10026`,
    };
  }
  return { service, mynetworks: inRanges(host, ["127.0.0.0/8"]) ? "127.0.0.0/8" : "[::1]/128" };
}
