/**
 * `doctor`: one look at what makes mail fail. Every finding says what to type. It changes nothing, works whether the
 * daemon runs or not, and asks nobody who does not expect it: name servers, our receivers, our own mail hosts, and
 * blocklists about our own addresses; whoever else is asked is named by a flag.
 */

import { printable } from "../../base/printable.ts";
import { type Command, EXIT, type Flag, type Invocation, isOn, UsageError } from "../command.ts";
import { JSON_FLAG } from "../context.ts";
import { json } from "../format.ts";
import { backupCheck } from "./backup.ts";
import { blocklistsCheck } from "./blocklists.ts";
import { certificateCheck } from "./certificate.ts";
import { type Check, type Finding, runChecks, type Status, type Subject } from "./check.ts";
import { clockCheck } from "./clock.ts";
import { configCheck } from "./config.ts";
import { daemonCheck } from "./daemon.ts";
import { diskCheck } from "./disk.ts";
import { dnsCheck } from "./dns.ts";
import { filesCheck } from "./files.ts";
import { hostnameCheck } from "./hostname.ts";
import { mtaStsCheck } from "./mta_sts.ts";
import { port25Check } from "./port25.ts";
import { portsCheck } from "./ports.ts";
import { queueCheck } from "./queue.ts";
import { receiverCheck } from "./receiver.ts";
import { DOMAINS_MAX, domainsOfSubject, newSubject, wishesOf } from "./subject.ts";

/** In the order in which they are shown: from the inside to the outside. */
const NAMES = [
  "config",
  "disk",
  "files",
  "backup",
  "clock",
  "ports",
  "certificate",
  "daemon",
  "queue",
  "receiver",
  "port25",
  "hostname",
  "dns",
  "mta_sts",
  "blocklists",
] as const;

const BEFORE_DOMAINS = [
  configCheck,
  diskCheck,
  filesCheck,
  backupCheck,
  clockCheck,
  portsCheck,
  certificateCheck,
  daemonCheck,
  queueCheck,
  receiverCheck,
  port25Check,
  hostnameCheck,
];

/** Some need a list of domains, which the daemon completes. */
async function checksFor(subject: Subject, wanted: readonly string[]): Promise<Check[]> {
  const isWanted = (name: string) => wanted.length === 0 || wanted.some((id) => id.split(".")[0] === name);
  const needsDomains = isWanted("dns") || isWanted("mta_sts");
  const { loaded } = subject;
  const isRead = loaded.ok || loaded.isRead;
  const all = isRead && needsDomains ? await domainsOfSubject(subject) : [];
  const domains = all.slice(0, DOMAINS_MAX);
  const perDomain = domains.length === 0 ? [noDomains] : domains.map((domain) => dnsCheck(domain));
  const more = all.length > DOMAINS_MAX ? [moreDomains(all.length - DOMAINS_MAX)] : [];
  const policies = domains.map((domain) => mtaStsCheck(domain));
  const checks = [...BEFORE_DOMAINS, ...perDomain, ...more, ...policies, blocklistsCheck];
  const known = checks.filter(({ name }) => isWanted(name));
  if (isRead) return known;
  // A file that could not be read says nothing about the host: only what needs no config is looked at then.
  return known.map((check) => [configCheck, daemonCheck].includes(check) ? check : needsConfig(check));
}

const needsConfig = ({ name }: Check): Check => ({
  name,
  run: async (_, say) => say.skipped("config", "needs a config that can be read"),
});

const noDomains: Check = {
  name: "dns",
  run: async (_, say) => say.skipped("domains", "there is no domain to look at"),
};

const moreDomains = (count: number): Check => ({
  name: "dns",
  run: async (_, say) => say.skipped("domains", `${count} more domains`, "`gomail domain check D` for each"),
});

/** What --only names: checks, or ids of findings. */
function wantedOf({ flags }: Invocation): string[] {
  const wanted = (flags.get("only") ?? []).flatMap((text) => text.split(",")).map((id) => id.trim());
  for (const id of wanted) {
    if (NAMES.some((name) => name === id.split(".")[0])) continue;
    throw new UsageError(`--only ${printable(id.slice(0, 64))}: the checks are ${NAMES.join(", ")}`);
  }
  return wanted;
}

const count = (findings: readonly Finding[], status: Status) =>
  findings.filter((finding) => finding.status === status).length;

/** A line for each finding, what to type below it, and a line that sums up. */
function asText(findings: readonly Finding[]): string {
  const checkWidth = Math.max(...NAMES.map((name) => name.length));
  const lines = findings.map(({ check, status, summary, remedy }) => {
    const head = `${status.padEnd(7)}  ${check.padEnd(checkWidth)}  `;
    const hint = remedy === undefined ? "" : `${" ".repeat(head.length)}-> ${printable(remedy)}\n`;
    return `${head}${printable(summary)}\n${hint}`;
  });
  const [problems, notices, unknown] = [
    count(findings, "problem"),
    count(findings, "notice"),
    count(findings, "unknown"),
  ];
  const sum = `${problems} ${problems === 1 ? "problem" : "problems"}, ${notices} ${
    notices === 1 ? "notice" : "notices"
  }, ${unknown} not known`;
  return lines.join("") + sum + "\n";
}

/** Exit 1 with a problem, and with what nobody could tell: not known is not fine. */
async function runDoctor(invocation: Invocation): Promise<number> {
  const wanted = wantedOf(invocation);
  const over = new AbortController();
  const subject = newSubject(invocation, wishesOf(invocation), over.signal);
  let findings: Finding[];
  try {
    findings = await runChecks(await checksFor(subject, wanted), subject, over);
  } finally {
    over.abort();
    subject.resolver.close();
  }
  const isWanted = ({ id, check }: Finding) =>
    wanted.length === 0 || [id, check].some((n) => wanted.includes(n));
  const shown = findings.filter(isWanted);
  invocation.io.out(isOn(invocation.flags, "json") ? json(shown) : asText(shown));
  return count(shown, "problem") + count(shown, "unknown") === 0 ? EXIT.ok : EXIT.failed;
}

const FLAGS: readonly Flag[] = [
  JSON_FLAG,
  {
    name: "only",
    kind: "list",
    placeholder: "ID",
    summary: `these checks or findings alone, commas between them: ${NAMES.join(", ")}, or an id of --json`,
  },
  {
    name: "blocklists",
    kind: "switch",
    summary: "asks DNS blocklists about our own addresses, as if not said; --no-blocklists asks none",
  },
  {
    name: "webhook",
    kind: "switch",
    summary: "sends each receiver a rightly signed sample as well, which its app takes for mail; " +
      "without it only one with a wrong signature, which it has to refuse",
  },
  {
    name: "probe",
    kind: "value",
    placeholder: "HOST",
    summary: "calls this mail host, to see whether port 25 is open outwards",
  },
  {
    name: "ntp",
    kind: "value",
    placeholder: "HOST",
    summary: "asks this time server, to compare the clock with",
  },
];

export const doctorCommand: Command = {
  name: "doctor",
  summary: "Looks at everything that makes mail fail, and says what to type",
  usage: "[--only ID]... [--no-blocklists] [--webhook] [--probe HOST] [--ntp HOST] [--json]",
  flags: FLAGS,
  takesConfig: true,
  examples: ["doctor", "doctor --only dns,queue.dead --json", "doctor --probe mx.example.net --webhook"],
  run: runDoctor,
};
