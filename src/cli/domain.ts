/** `domain list|add|remove|check`: the domains that mail is accepted for, from the config and added here. */

import { type Command, EXIT, type Invocation, isOn } from "./command.ts";
import { CONTROL_FLAG, JSON_FLAG, onDaemon } from "./context.ts";
import { segment } from "./control_client.ts";
import { printable } from "../base/printable.ts";
import { json } from "./format.ts";
import { pageOf, printPage } from "./message.ts";
import { recordsOf, zoneLine } from "./zone_file.ts";

/** `recipients: null` is a domain that takes everything, which "-" would hide. */
async function runList(invocation: Invocation): Promise<number> {
  const answer = await onDaemon(invocation, (client) => client.request("GET", "/v1/domains"));
  const isJson = isOn(invocation.flags, "json");
  const shown = isJson ? answer : {
    items: pageOf(answer).items.map((item) => ({
      ...item,
      recipients: Array.isArray(item.recipients) ? item.recipients : "all",
    })),
  };
  const columns = [["DOMAIN", "domain"], ["RECIPIENTS", "recipients"], ["FROM", "source"]] as const;
  return printPage(invocation, shown, columns, "no domains: mail for nobody is accepted");
}

/** Whether the domain is well formed is the daemon's to say: it knows what it compares with. */
async function runAdd(invocation: Invocation): Promise<number> {
  const domain = invocation.args[0]!;
  const recipients = invocation.flags.get("recipient");
  const body = { domain, ...(recipients !== undefined && { recipients }) };
  const answer = await onDaemon(invocation, (client) => client.request("POST", "/v1/domains", { body }));
  const text = `mail for ${printable(domain)} is accepted\n`;
  invocation.io.out(isOn(invocation.flags, "json") ? json(answer) : text);
  return EXIT.ok;
}

/** Of a configured domain the daemon answers with where to take it out. */
async function runRemove(invocation: Invocation): Promise<number> {
  const domain = invocation.args[0]!;
  const path = `/v1/domains/${segment(domain)}`;
  const answer = await onDaemon(invocation, (client) => client.request("DELETE", path));
  const text = `mail for ${printable(domain)} is no longer accepted\n`;
  invocation.io.out(isOn(invocation.flags, "json") ? json(answer) : text);
  return EXIT.ok;
}

interface Finding {
  check?: string;
  status?: string;
  detail?: string;
  records?: unknown;
}

/** A line for each finding, and below it what to publish. */
function findingLines({ check = "", status = "", detail = "", records }: Finding): string {
  const head = `${status.padEnd(7)}  ${check.padEnd(5)}  `;
  const publish = recordsOf(records).map((record) => `${" ".repeat(head.length)}-> ${zoneLine(record)}`);
  return [head + detail, ...publish].map((line) => printable(line) + "\n").join("");
}

/** What failed, and what nobody could tell, is an exit code of 1; a warning is none. */
async function runCheck(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const path = `/v1/domains/${segment(args[0]!)}/check`;
  const answer = await onDaemon(invocation, (client) => client.request("GET", path));
  const found = (answer as { findings?: unknown } | null)?.findings;
  const findings = Array.isArray(found) ? found as Finding[] : [];
  io.out(isOn(flags, "json") ? json(findings) : findings.map(findingLines).join(""));
  const isFine = findings.length > 0 &&
    findings.every(({ status }) => status === "ok" || status === "warning");
  return isFine ? EXIT.ok : EXIT.failed;
}

export const domainCommands: readonly Command[] = [
  {
    name: "domain list",
    summary: "Lists the domains that mail is accepted for",
    usage: "[--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    examples: ["domain list"],
    run: runList,
  },
  {
    name: "domain add",
    summary: "Accepts mail for a domain, for all its addresses or only the named ones",
    usage: "D [--recipient A]... [--json]",
    flags: [
      {
        name: "recipient",
        kind: "list",
        placeholder: "A",
        summary: "an address that exists there; repeatable",
      },
      JSON_FLAG,
      CONTROL_FLAG,
    ],
    args: { min: 1, max: 1 },
    examples: ["domain add example.org", "domain add example.org --recipient info@example.org"],
    run: runAdd,
  },
  {
    name: "domain remove",
    summary: "No longer accepts mail for a domain that was added here",
    usage: "D [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: { min: 1, max: 1 },
    examples: ["domain remove example.org"],
    run: runRemove,
  },
  {
    name: "domain check",
    summary: "Compares a domain's DNS (MX, SPF, DKIM, DMARC, PTR) with what it should be",
    usage: "D [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: { min: 1, max: 1 },
    examples: ["domain check example.org"],
    run: runCheck,
  },
];
