/**
 * Where to ask: name servers from the configuration or /etc/resolv.conf, and the names that /etc/hosts
 * answers without asking anybody (resolv.conf(5), hosts(5)). Both files are read once, when a resolver is made.
 */

import { parseAddress } from "./address.ts";

export interface NameServer {
  address: string;
  port: number;
}

const DNS_PORT = 53;
/** resolv.conf(5): the C library looks at three as well. */
const SYSTEM_SERVERS_MAX = 3;
const HOSTS_LINES_MAX = 10_000;

/** `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`; null for anything else. */
export function parseNameServer(text: string): NameServer | null {
  const match = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text) ?? /^([\d.]+)(?::(\d{1,5}))?$/.exec(text) ??
    [text, text, undefined];
  const address = parseAddress(match[1]!);
  const port = match[2] === undefined ? DNS_PORT : Number(match[2]);
  return address && port >= 1 && port <= 65535 ? { address: address.text, port } : null;
}

/** A file's text; empty when it is missing or may not be read, which for these two files means "says nothing". */
function readOrEmpty(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    // No such file, or a sandbox without it: the built-in defaults apply.
    return "";
  }
}

/** The servers that resolv.conf's text names; the local host when it names none (resolv.conf(5)). */
export function systemServers(text: string = readOrEmpty("/etc/resolv.conf")): NameServer[] {
  const servers: NameServer[] = [];
  for (const line of text.split("\n")) {
    const [word, value] = line.trim().split(/\s+/);
    const server = word === "nameserver" && value ? parseNameServer(value.replace(/%.*$/, "")) : null;
    if (server && servers.length < SYSTEM_SERVERS_MAX) servers.push(server);
  }
  return servers.length > 0 ? servers : [{ address: "127.0.0.1", port: DNS_PORT }];
}

/** Lower-case name to addresses, as hosts(5) lists them. */
export function parseHosts(text: string = readOrEmpty("/etc/hosts")): Map<string, string[]> {
  const hosts = new Map<string, string[]>();
  for (const line of text.split("\n", HOSTS_LINES_MAX)) {
    const [first, ...names] = line.replace(/#.*$/, "").trim().split(/\s+/);
    const address = first ? parseAddress(first) : null;
    if (!address) continue;
    for (const name of names) {
      const key = name.toLowerCase();
      hosts.set(key, [...new Set([...(hosts.get(key) ?? []), address.text])]);
    }
  }
  return hosts;
}
