/** What the looks of `domain check` share: the domain, what DNS says, and where mail leaves from. */

import { parseAddress } from "../base/address.ts";
import type { DnsFacts } from "./dns_facts.ts";
import type { DkimFlow, DomainFinding } from "./types.ts";

export interface Subject {
  domain: string;
  /** Our name in greeting and HELO. */
  hostname: string;
  dns: DnsFacts;
  exit: Exit;
  dkim: Pick<DkimFlow, "list" | "signingKeys">;
  /** dkim_sign_outbound. */
  signs: boolean;
}

/** The host whose addresses receivers see: ours, or a smarthost elsewhere. */
export interface Exit {
  host: string;
  isOurs: boolean;
  /** Set where one address is configured. */
  source: string | null;
}

/** What a look finds, less which one it was. */
export type Finding = Omit<DomainFinding, "check">;

/** Rejects with NoAnswer where DNS leaves something open. */
export type Look = (subject: Subject) => Promise<Finding[]>;

/** Addresses that receivers see mail come from; empty when the host has none. */
export async function exitAddresses({ dns, exit }: Pick<Subject, "dns" | "exit">): Promise<string[]> {
  if (exit.source !== null) return [exit.source];
  const literal = parseAddress(exit.host);
  return literal ? [literal.text] : await dns.addresses(exit.host);
}
