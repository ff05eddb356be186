/**
 * What this executable can't do at all, because it was made with an older runtime than the one we ship (see
 * base/runtime.ts). Said before anything is opened: a listener that hangs in its first handshake, or that is not
 * where its socket is, would be found out by a sender.
 */

import { canCallByTls, canServeTls, canTakeSockets, DENO_VERSION } from "../base/runtime.ts";
import type { Findings } from "./findings.ts";
import type { Config } from "./schema.ts";

export interface Abilities {
  serverTls: boolean;
  handedSockets: boolean;
  clientTls: boolean;
}

const ours = (): Abilities => ({
  serverTls: canServeTls(),
  handedSockets: canTakeSockets(),
  clientTls: canCallByTls(),
});

export function checkRuntime(
  config: Pick<Config, "mode" | "tls_enabled" | "starttls_enabled" | "outbound_transport">,
  found: Findings,
  abilities: Abilities = ours(),
): void {
  const runtime = `this executable's runtime (Deno ${Deno.version.deno})`;
  const other = `use an executable made with Deno ${DENO_VERSION}`;
  if (config.tls_enabled && config.starttls_enabled && !abilities.serverTls) {
    found.problem(
      "tls_enabled",
      true,
      `cannot work: ${runtime} can't serve TLS`,
      `${other}, or set it to false`,
    );
  }
  if (config.mode === "socket" && !abilities.handedSockets) {
    const problem = `cannot work: ${runtime} can't listen on sockets that it is given`;
    found.problem("mode", config.mode, problem, `${other}, or set mode: simple`);
  }
  if (config.outbound_transport === "direct" && !abilities.clientTls) {
    const problem =
      `works without encryption alone: ${runtime} can't do TLS to other mail servers, and each ` +
      "one that offers it costs a minute";
    found.warning("outbound_transport", "direct", problem, other);
  }
}
