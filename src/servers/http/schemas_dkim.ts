/** The shapes of DKIM keys, of the records to publish, and of what `check` finds. No shape has a private key. */

import { z } from "zod";
import type { DkimKey, DnsRecord, DomainFinding } from "../../outbound/types.ts";

const time = z.iso.datetime().describe("RFC 3339, UTC");

export const dkimKeySchema = z.object({
  domain: z.string(),
  selector: z.string(),
  algorithm: z.enum(["rsa", "ed25519"]),
  state: z.enum(["pending", "active", "retiring", "retired"]).describe(
    "pending: to be published; active: signs; retiring: signs no more and stays published; retired: over",
  ),
  source: z.enum(["config", "store"]),
  public_key: z.string().describe("The p= of its record"),
  created_at: time.nullable().describe("Null for a key of the config"),
  activated_at: time.nullable(),
  stopped_at: time.nullable().describe("Since when it signs no more"),
});

export type DkimKeyItem = z.infer<typeof dkimKeySchema>;

export const dnsRecordSchema = z.object({
  name: z.string(),
  type: z.enum(["TXT", "MX", "A", "AAAA", "PTR", "CNAME"]),
  value: z.string().describe("In one piece; in a zone file a TXT is cut into strings of at most 255 octets"),
}) satisfies z.ZodType<DnsRecord>;

export const dkimKeysSchema = z.object({ keys: z.array(dkimKeySchema) });

export const domainFindingSchema = z.object({
  check: z.enum(["mx", "spf", "dkim", "dmarc", "ptr"]),
  status: z.enum(["ok", "warning", "failed", "unknown"]).describe(
    "unknown: DNS gave no answer, or none can tell",
  ),
  detail: z.string(),
  records: z.array(dnsRecordSchema).describe("What to publish"),
}) satisfies z.ZodType<DomainFinding>;

export const domainCheckSchema = z.object({ domain: z.string(), findings: z.array(domainFindingSchema) });

/** Strict: a misspelt `force` would not be one. */
export const activateBody = z.strictObject({
  selector: z.string().min(1).max(255).optional().describe(
    "Absent: the newest pending key of each algorithm",
  ),
  force: z.boolean().optional().describe("Although its record is not in DNS as it should be"),
});

export const retireBody = z.strictObject({
  force: z.boolean().optional().describe("Although it signs, or mail that it signed is unsent"),
});

const iso = (ms: number | null) => ms === null ? null : new Date(ms).toISOString();

export function dkimKeyItem(key: DkimKey): DkimKeyItem {
  return {
    domain: key.domain,
    selector: key.selector,
    algorithm: key.algorithm,
    state: key.state,
    source: key.source,
    public_key: key.publicKey,
    created_at: key.source === "config" ? null : iso(key.createdAt),
    activated_at: iso(key.activatedAt),
    stopped_at: iso(key.stoppedAt),
  };
}
