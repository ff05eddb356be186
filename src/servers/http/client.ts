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
    const address = parseAddress(hop.trim());
    if (!address) return client;
    client = address.text;
    if (!inRanges(address, trusted)) return client;
  }
  return client;
}
