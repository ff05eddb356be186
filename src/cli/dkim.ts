/** `dkim generate|list|record|activate|retire`: the keys that mail is signed with, and their DNS records. */

import { printable } from "../base/printable.ts";
import { type Command, EXIT, type Invocation, isOn } from "./command.ts";
import { CONTROL_FLAG, JSON_FLAG, onDaemon } from "./context.ts";
import { segment } from "./control_client.ts";
import { json } from "./format.ts";
import { pageOf, printPage } from "./message.ts";
import { recordsOf, zoneLine } from "./zone_file.ts";

type Item = Record<string, unknown>;

const pathOf = (domain: string, rest = "") => `/v1/domains/${segment(domain)}/dkim${rest}`;

const itemOf = (answer: unknown) => (answer ?? {}) as Item;

/** Selectors of an answer's keys. */
function selectorsOf(answer: unknown): string {
  const keys = itemOf(answer).keys;
  return printable((Array.isArray(keys) ? keys as Item[] : []).map((key) => String(key.selector)).join(", "));
}

/** A line each, safe for a terminal: what stands in DNS may be anything. */
const lines = (records: unknown) =>
  recordsOf(records).map((record) => printable(zoneLine(record)) + "\n").join("");

/** What is printed can be published as it is; what comes next goes to stderr. */
async function runGenerate(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const domain = args[0]!;
  const { made, records } = await onDaemon(invocation, async (client) => ({
    made: await client.request("POST", pathOf(domain)),
    records: await client.request("GET", pathOf(domain, "/records")),
  }));
  if (isOn(flags, "json")) {
    io.out(json(made));
    return EXIT.ok;
  }
  const keys = itemOf(made).keys;
  const own = new Set(
    (Array.isArray(keys) ? keys as Item[] : []).map((key) => `${key.selector}._domainkey.`),
  );
  const isOwn = ({ name }: { name: string }) => [...own].some((start) => name.startsWith(start));
  io.out(lines(recordsOf(pageOf(records).items).filter(isOwn)));
  io.err(`publish these records, then: gomail dkim activate ${printable(domain)}\n`);
  return EXIT.ok;
}

async function runList(invocation: Invocation): Promise<number> {
  const [domain] = invocation.args;
  const path = domain === undefined ? "/v1/dkim" : pathOf(domain);
  const answer = await onDaemon(invocation, (client) => client.request("GET", path));
  const columns = [
    ["DOMAIN", "domain"],
    ["SELECTOR", "selector"],
    ["ALGORITHM", "algorithm"],
    ["STATE", "state"],
    ["FROM", "source"],
    ["CREATED", "created_at"],
    ["ACTIVATED", "activated_at"],
    ["STOPPED", "stopped_at"],
  ] as const;
  return printPage(invocation, answer, columns, "no DKIM keys: mail goes unsigned");
}

async function runRecord(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const answer = await onDaemon(invocation, (client) => client.request("GET", pathOf(args[0]!, "/records")));
  const records = recordsOf(pageOf(answer).items);
  if (isOn(flags, "json")) io.out(json(records));
  else if (records.length > 0) io.out(lines(records));
  else io.err(`no DKIM keys: gomail dkim generate ${printable(args[0]!)} makes some\n`);
  return EXIT.ok;
}

/** Each record that is missing, and what is there instead: one line of an error could not hold it. */
function sayMissing({ io }: Invocation, answer: Item): number {
  const details = itemOf(answer.details);
  const missing = Array.isArray(details.missing) ? details.missing as Item[] : [];
  if (missing.length === 0) {
    io.err(`gomail: ${printable(String(answer.message ?? "Cannot activate"))}\n`);
    return EXIT.failed;
  }
  for (const { record, found } of missing) {
    const [wanted] = recordsOf([record]);
    if (!wanted) continue;
    io.err(`${printable(wanted.name)} has ${printable(String(found))}\n`);
    io.err(`  publish: ${printable(zoneLine(wanted))}\n`);
  }
  const rest = "publish what is missing, or use --force when you are sure that it is there";
  io.err(`gomail: Cannot activate: DNS is not as it should be; ${rest}\n`);
  return EXIT.failed;
}

async function runActivate(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const [domain, selector] = args;
  const body = { ...(selector !== undefined && { selector }), ...(isOn(flags, "force") && { force: true }) };
  const path = pathOf(domain!, "/activate");
  const answer = itemOf(
    await onDaemon(invocation, (client) => client.request("POST", path, { body, alsoTakes: [409] })),
  );
  if (answer.error !== undefined) return sayMissing(invocation, answer);
  const text = `mail from ${printable(domain!)} is signed by ${selectorsOf(answer)}\n`;
  io.out(isOn(flags, "json") ? json(answer) : text);
  return EXIT.ok;
}

async function runRetire(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const [domain, selector] = args;
  const body = isOn(flags, "force") ? { force: true } : {};
  const path = pathOf(domain!, `/${segment(selector!)}/retire`);
  const answer = await onDaemon(invocation, (client) => client.request("POST", path, { body }));
  const name = printable(`${selector}._domainkey.${domain}`);
  const text = `${
    printable(selector!)
  } is retired; take ${name} out of DNS in some days, when all mail has come\n`;
  io.out(isOn(flags, "json") ? json(answer) : text);
  return EXIT.ok;
}

const force = (summary: string) => ({ name: "force", kind: "switch", summary }) as const;

export const dkimCommands: readonly Command[] = [
  {
    name: "dkim generate",
    summary: "Makes an RSA and an Ed25519 key for a domain, and prints the records to publish",
    usage: "D [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: { min: 1, max: 1 },
    examples: ["dkim generate example.org"],
    run: runGenerate,
  },
  {
    name: "dkim list",
    summary: "Lists DKIM keys, of one domain or of all",
    usage: "[D] [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: { min: 0, max: 1 },
    examples: ["dkim list", "dkim list example.org --json"],
    run: runList,
  },
  {
    name: "dkim record",
    summary: "Prints the DNS records of a domain's keys, as a zone file has them",
    usage: "D [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: { min: 1, max: 1 },
    examples: ["dkim record example.org", "dkim record example.org --json"],
    run: runRecord,
  },
  {
    name: "dkim activate",
    summary: "Lets keys sign whose records are in DNS; those that signed before retire",
    usage: "D [SELECTOR] [--force] [--json]",
    flags: [force("without a look at DNS"), JSON_FLAG, CONTROL_FLAG],
    args: { min: 1, max: 2 },
    examples: ["dkim activate example.org", "dkim activate example.org gm202601a-rsa"],
    run: runActivate,
  },
  {
    name: "dkim retire",
    summary: "Ends a key for good: its file is removed",
    usage: "D SELECTOR [--force] [--json]",
    flags: [force("although it signs, or has signed mail that is not sent yet"), JSON_FLAG, CONTROL_FLAG],
    args: { min: 2, max: 2 },
    examples: ["dkim retire example.org gm202601a-rsa"],
    run: runRetire,
  },
];
