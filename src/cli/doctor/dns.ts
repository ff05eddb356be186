/**
 * DNS for one domain: MX, SPF, DKIM and DMARC as `domain check` sees them. The daemon looks, since it has the DKIM
 * keys; without it everything else is looked at from here. PTR is about this host, and the hostname check's.
 */

import { messageOf } from "../../base/errors.ts";
import { createDomainCheck } from "../../outbound/domain_check.ts";
import { onDaemon } from "../context.ts";
import { segment } from "../control_client.ts";
import { recordsOf, zoneLine } from "../zone_file.ts";
import type { Check, Say, Status, Subject } from "./check.ts";
import { remedyFor } from "./health.ts";
import { newResolver } from "./resolver.ts";

const STATUS: Record<string, Status> = { ok: "ok", warning: "notice", failed: "problem", unknown: "unknown" };

/** As far as it is used; another version may answer. */
interface Found {
  check?: unknown;
  status?: unknown;
  detail?: unknown;
  records?: unknown;
}

async function askDaemon({ invocation }: Subject, domain: string, signal: AbortSignal): Promise<Found[]> {
  const path = `/v1/domains/${segment(domain)}/check`;
  const answer = await onDaemon(invocation, (client) => client.request("GET", path, { signal }));
  const found = (answer as { findings?: unknown } | null)?.findings;
  return Array.isArray(found) ? found as Found[] : [];
}

/** Of keys nothing is known here. */
const NO_KEYS = { list: () => Promise.resolve([]), signingKeys: () => Promise.resolve([]) };

async function lookFromHere({ config, hostname, clock }: Subject, domain: string): Promise<Found[]> {
  const check = createDomainCheck({
    config: () => config,
    hostname: () => hostname,
    newResolver: () => newResolver(config, clock),
    dkim: NO_KEYS,
    clock,
  });
  return (await check(domain)).filter((finding) => finding.check !== "dkim");
}

function tell({ check, status, detail, records }: Found, domain: string, say: Say): void {
  const publish = recordsOf(records).map(zoneLine).join("  ");
  const again = `\`gomail domain check ${domain}\``;
  const level = STATUS[String(status)] ?? "unknown";
  const remedy = publish === "" ? `${again} says more` : `publish: ${publish}`;
  const summary = `${domain}: ${String(detail)}`;
  if (level === "ok") say.ok(String(check), summary);
  else say[level](String(check), summary, level === "unknown" ? `${again} tries again` : remedy);
}

export function dnsCheck(domain: string): Check {
  return {
    name: "dns",
    async run(subject, say, signal) {
      const answer = await subject.daemon;
      const { health } = answer;
      let found: Found[];
      try {
        found = health === null
          ? await lookFromHere(subject, domain)
          : await askDaemon(subject, domain, signal);
      } catch (error) {
        const summary = `${domain}: Cannot be looked up: ${messageOf(error)}`;
        return say.unknown("asked", summary, `\`gomail domain check ${domain}\` tries again`);
      }
      for (const finding of found.filter(({ check }) => check !== "ptr")) tell(finding, domain, say);
      if (health === null) {
        const summary = `${domain}: DKIM is not looked at: the daemon, which has the keys, does not answer`;
        say.skipped("dkim", summary, remedyFor(answer, subject.upkeep));
      }
    },
  };
}
