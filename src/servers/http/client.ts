/**
 * Who is asking. X-Forwarded-For is written by everybody on the way and believed only from the right: each
 * trusted proxy vouches for the entry before it, so the client is the right-most address that is not itself a
 * trusted proxy. Whatever stands further left is the client's own invention.
 */

import { inRanges, parseAddress, plainAddress } from "../../base/address.ts";

/** More hops than this are not a chain of proxies. */
const HOPS_MAX = 32;

/** The client's address text; `peer` is the socket's. An unreadable entry ends the walk at the last good one. */
export function clientAddress(
  peer: string,
  forwardedFor: string | undefined,
  trusted: readonly string[],
): string {
  let client = plainAddress(peer);
  if (!forwardedFor || !inRanges(client, trusted)) return client;
  for (const hop of forwardedFor.split(",").slice(-HOPS_MAX).reverse()) {
    const address = parseAddress(withoutPort(hop.trim()));
    if (!address) return client;
    client = address.text;
    if (!inRanges(address, trusted)) return client;
  }
  return client;
}

/**
 * Some proxies write the client's port as well: `192.0.2.1:4711`, `[2001:db8::1]:4711`. It says nothing about who
 * it is. Without brackets a last group of digits may be part of an IPv6 address, and is taken for that.
 */
function withoutPort(hop: string): string {
  const [, v6, v4] = /^(?:\[([0-9a-f:.]+)\]|(\d+\.\d+\.\d+\.\d+))(?::\d{1,5})?$/i.exec(hop) ?? [];
  // Brackets are for IPv6 only (RFC 3986 3.2.2).
  return (v6?.includes(":") ? v6 : v4) ?? hop;
}
