/**
 * Checks about the way that mail leaves by. Whether outbound_source_address is an address of this host only `doctor`
 * looks: addresses come and go, and the daemon may not list them.
 */

import type { Findings } from "./findings.ts";
import { parseListen } from "./notation.ts";
import { isLoopbackHost } from "./private_host.ts";
import type { Config } from "./schema.ts";

/** A smarthost on this host: it knows us by our loopback address, and chooses where mail leaves from. */
export function leavesByLoopback(
  { outbound_transport, outbound_smarthost }: Pick<Config, "outbound_transport" | "outbound_smarthost">,
): boolean {
  const place = outbound_transport === "postfix" ? parseListen(outbound_smarthost) : null;
  return place !== null && "host" in place && isLoopbackHost(place.host);
}

export function checkOutbound(config: Config, found: Findings): void {
  const source = config.outbound_source_address;
  if (source === undefined || !leavesByLoopback(config)) return;
  const problem = `is not used: mail leaves through ${config.outbound_smarthost} on this host`;
  found.warning(
    "outbound_source_address",
    source,
    problem,
    "set the address there (Postfix: smtp_bind_address)",
  );
}
