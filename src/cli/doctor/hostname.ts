/**
 * Our name and our addresses, as other mail servers check them: the name of greeting and HELO has an address
 * (RFC 5321 4.1.4), and each address that mail leaves from has a name that leads back to it (forward-confirmed
 * reverse DNS, RFC 1912 2.1). Many receivers refuse everything else, large ones among them.
 */

import { isPublic, parseAddress } from "../../base/address.ts";
import { dnsFacts, NoAnswer } from "../../outbound/dns_facts.ts";
import { leavesByLoopback } from "../../config/check_outbound.ts";
import { exitOf } from "../../outbound/domain_check.ts";
import { checkPtr } from "../../outbound/domain_check_host.ts";
import { exitAddresses } from "../../outbound/domain_check_subject.ts";
import { zoneLine } from "../zone_file.ts";
import { type Check, type Say, sideBySide, type Subject } from "./check.ts";
import { tryPlace } from "./ports.ts";
import { NAME_SERVERS } from "./upkeep.ts";

/** Where mail leaves from, for those who look at it. */
export function exitSubject({ config, hostname, resolver }: Subject) {
  return { dns: dnsFacts(resolver), exit: exitOf(config, hostname), hostname };
}

/** Public addresses that receivers see; empty when mail leaves through somebody else. */
export async function ownAddresses(subject: Subject): Promise<string[]> {
  const parts = exitSubject(subject);
  if (!parts.exit.isOurs) return [];
  const found = (await exitAddresses(parts)).flatMap((text) => parseAddress(text) ?? []);
  return [...new Set(found.filter(isPublic).map(({ text }) => text))];
}

async function checkName(subject: Subject, say: Say): Promise<void> {
  const { hostname } = subject;
  const addresses = await exitSubject(subject).dns.addresses(hostname);
  if (addresses.length === 0) {
    const remedy = `publish: ${hostname}. IN A (this host's public address), or set mail_hostname`;
    return say.problem("helo", `${hostname}, our name in HELO, has no address`, remedy);
  }
  const seen = addresses.filter((address) => isPublic(address));
  if (seen.length > 0) return say.ok("helo", `${hostname} is ${seen.slice(0, 8).join(", ")}`);
  const summary = `${hostname}, our name in HELO, has only private addresses: ${
    addresses.slice(0, 8).join(", ")
  }`;
  say.notice("helo", summary, "publish the address that others see us by, or set mail_hostname");
}

/** A source that is elsewhere, as the public address of a host behind NAT is, lets no mail out at all. */
function checkSource({ config, configFile }: Subject, say: Say): Promise<void> {
  const source = config.outbound_source_address;
  const isUsed = source !== undefined && !leavesByLoopback(config);
  if (isUsed && tryPlace({ host: source, port: 0 }) === "elsewhere") {
    const summary =
      `outbound_source_address ${source} is not an address of this host: mail can't leave from it`;
    const remedy = `\`ip -br address\` lists those it has; name one of them in ${configFile}, or none`;
    say.problem("source", summary, remedy);
  }
  return Promise.resolve();
}

/** What only the outside sees: the address, behind NAT for instance. A source address that we have can be named. */
function seenRemedy({ config, hostname }: Subject): string {
  const ask =
    `\`dig +short -x ADDRESS\` has to say ${hostname}., for the ADDRESS that receivers see: a mail ` +
    "that was sent from here has it in its Received lines";
  const isFree = config.outbound_transport === "direct" && config.outbound_source_address === undefined;
  return isFree
    ? `${ask}; if it is an address of this host itself, outbound_source_address can name it`
    : ask;
}

async function checkReverse(subject: Subject, say: Say): Promise<void> {
  for (const { status, detail, records } of await checkPtr(exitSubject(subject))) {
    const publish = records.map(zoneLine).join("  ");
    const remedy = publish === "" ? "set the A record of mail_hostname first" : `have set: ${publish}`;
    if (status === "ok") say.ok("ptr", detail);
    else if (status === "unknown") say.unknown("ptr", detail, seenRemedy(subject));
    else say[status === "failed" ? "problem" : "notice"]("ptr", detail, remedy);
  }
}

/** What DNS leaves open is told as that. */
export async function orUnknown(
  topic: string,
  say: Say,
  work: Promise<void>,
): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    say.unknown(topic, error.message, `${NAME_SERVERS}; others can be named in dns_servers`);
  }
}

export const hostnameCheck: Check = {
  name: "hostname",
  async run(subject, say) {
    const looks = [["helo", checkName], ["source", checkSource], ["ptr", checkReverse]] as const;
    await sideBySide(looks, say, ([topic, look], say) => orUnknown(topic, say, look(subject, say)));
  },
};
