/**
 * Addresses as the store compares them: as mail/suppression_key.ts names them. What is no mailbox is only put in
 * lower case: it then equals nothing but itself.
 */

import { normalizeDomain } from "../mail/address.ts";
import { suppressionKey } from "../mail/suppression_key.ts";

export function foldAddress(address: string): string {
  return suppressionKey(address) ?? address.toLowerCase();
}

export function foldDomain(domain: string): string {
  return normalizeDomain(domain) ?? domain.toLowerCase();
}
