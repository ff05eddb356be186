/**
 * Whether the host of a URL, as it stands there, is an address that webhooks don't go to unless they are
 * allowed: loopback, private, link-local and the like. Names are not resolved here; the delivery checks
 * every address it connects to, this only tells an operator early what it would refuse anyway.
 */

import { inRanges, isPublic, parseAddress } from "../base/address.ts";

function plainHost(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "").toLowerCase();
}

/** `hostname` is this host: traffic to it never leaves it. As URL has it, IPv6 in brackets. */
export function isLoopbackHost(hostname: string): boolean {
  const host = plainHost(hostname);
  return host === "localhost" || host.endsWith(".localhost") || inRanges(host, ["loopback"]);
}

/** `hostname` is an address that is not on the open Internet, or a name of this host. */
export function isPrivateHost(hostname: string): boolean {
  const address = parseAddress(plainHost(hostname));
  return address ? !isPublic(address) : isLoopbackHost(hostname);
}
