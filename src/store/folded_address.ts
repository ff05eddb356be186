/**
 * Addresses as the store compares them: lower case, the domain in A-labels. RFC 5321 2.4 lets a server tell
 * `Bob` from `bob`, but hardly one does, and mail to somebody who complained under the other spelling must not
 * go out. What is no mailbox is only put in lower case: it then equals nothing but itself.
 */

import { normalizeDomain } from "../mail/address.ts";

export function foldAddress(address: string): string {
  const at = address.lastIndexOf("@");
  if (at < 0) return address.toLowerCase();
  return `${address.slice(0, at).toLowerCase()}@${foldDomain(address.slice(at + 1))}`;
}

export function foldDomain(domain: string): string {
  return normalizeDomain(domain) ?? domain.toLowerCase();
}
