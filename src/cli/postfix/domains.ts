/** The domains that Postfix has to let through: the config's, and where the daemon runs, those added to it. */

import { printable } from "../../base/printable.ts";
import { domainsOf } from "../../config/names.ts";
import type { Config } from "../../config/schema.ts";
import { normalizeDomain } from "../../mail/address.ts";
import { CommandError } from "../command.ts";
import { withControl } from "../control_client.ts";

export interface KnownDomains {
  names: string[];
  /** Those that only the daemon knew of; null when it could not be asked. */
  added: string[] | null;
  /** Why not. */
  problem?: string;
}

/** Names out of the answer. Our daemon sends nothing else, but these go into a script that root runs. */
function namesIn(answer: unknown): string[] {
  const items = (answer as { items?: unknown } | null)?.items;
  const nameOf = (item: unknown) => {
    const domain = (item as { domain?: unknown } | null)?.domain;
    return typeof domain === "string" ? normalizeDomain(domain) : null;
  };
  const names = Array.isArray(items) ? items.map(nameOf) : [null];
  if (names.includes(null)) throw new CommandError("Cannot use the daemon's answer: no list of domains");
  return names as string[];
}

export async function knownDomains(
  config: Pick<Config, "primary_domain" | "additional_domains" | "control_socket">,
): Promise<KnownDomains> {
  const configured = domainsOf(config);
  let known: KnownDomains;
  try {
    const answer = await withControl(config.control_socket, (client) => client.request("GET", "/v1/domains"));
    const added = namesIn(answer).filter((name) => !configured.includes(name));
    known = { names: [...configured, ...added], added };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    known = { names: configured, added: null, problem: printable(error.message) };
  }
  if (known.names.length === 0) {
    const why = known.problem === undefined ? "" : ` (${known.problem})`;
    throw new CommandError(
      `Cannot set up Postfix: there is no domain to take mail for; set primary_domain${why}`,
    );
  }
  return known;
}
