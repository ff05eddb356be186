/** `message list|show|raw|replay|cancel`: stored mail of both directions, over the control socket. */

import { type Command, EXIT, type Invocation, isOn, numberOf, UsageError, valueOf } from "./command.ts";
import { CONTROL_FLAG, JSON_FLAG, onDaemon } from "./context.ts";
import { segment } from "./control_client.ts";
import { cellOf, fields, json, table } from "./format.ts";

type Item = Record<string, unknown>;

export interface Page {
  items: Item[];
  next_cursor: string | null;
}

/** A list's answer; what is no list is an empty one. */
export function pageOf(answer: unknown): Page {
  const page = (answer ?? {}) as Partial<Page>;
  return { items: Array.isArray(page.items) ? page.items : [], next_cursor: page.next_cursor ?? null };
}

/** Prints a table of chosen fields, and on stderr how to get the next page. */
export function printPage(
  invocation: Invocation,
  answer: unknown,
  columns: readonly (readonly [title: string, field: string])[],
  nothing: string,
): number {
  const { io, flags } = invocation;
  if (isOn(flags, "json")) {
    io.out(json(answer));
    return EXIT.ok;
  }
  const page = pageOf(answer);
  if (page.items.length === 0) io.err(`${nothing}\n`);
  else {
    const rows = page.items.map((item) => columns.map(([, field]) => cellOf(item[field])));
    io.out(table([columns.map(([title]) => title), ...rows]));
  }
  if (page.next_cursor !== null) io.err(table([[`more: --cursor ${page.next_cursor}`]]));
  return EXIT.ok;
}

/** An empty cell would look like something missing (RFC 5321 4.5.5). */
function withNullSender(page: Page): Page {
  return { ...page, items: page.items.map((item) => item.sender === "" ? { ...item, sender: "<>" } : item) };
}

/** Filters are the API's; nothing is filtered here, or pages would have holes. */
async function runList(invocation: Invocation): Promise<number> {
  const { flags } = invocation;
  if ((flags.get("recipient")?.length ?? 0) > 1) throw new UsageError("--recipient is given more than once");
  const sender = valueOf(flags, "sender");
  const query = {
    limit: numberOf(flags, "limit"),
    cursor: valueOf(flags, "cursor"),
    // The null reverse-path is written <> by people and is empty in the API.
    sender: sender === "<>" ? "" : sender,
    recipient: valueOf(flags, "recipient"),
    verdict: valueOf(flags, "verdict"),
    direction: valueOf(flags, "direction"),
  };
  const answer = await onDaemon(invocation, (client) => client.request("GET", "/v1/messages", { query }));
  const shown = isOn(flags, "json") ? answer : withNullSender(pageOf(answer));
  const columns = [
    ["ID", "id"],
    ["TIME", "received_at"],
    ["DIRECTION", "direction"],
    ["SENDER", "sender"],
    ["RECIPIENTS", "recipients"],
    ["BYTES", "size_bytes"],
    ["VERDICT", "verdict"],
    ["SUBJECT", "subject"],
  ] as const;
  return printPage(invocation, shown, columns, "no messages");
}

/** A message's place in the API. */
const pathOf = (id: string, rest = "") => `/v1/messages/${segment(id)}${rest}`;

async function runShow(invocation: Invocation): Promise<number> {
  const [id] = invocation.args;
  const answer = await onDaemon(invocation, (client) => client.request("GET", pathOf(id!)));
  const asJson = isOn(invocation.flags, "json");
  invocation.io.out(asJson ? json(answer) : fields((answer ?? {}) as Item));
  return EXIT.ok;
}

/** Nothing but the bytes on stdout, so that it can be piped into anything. */
async function runRaw(invocation: Invocation): Promise<number> {
  const [id] = invocation.args;
  await onDaemon(invocation, async (client) => {
    // Chunk by chunk: a mail of 25 MB needs no 25 MB here.
    for await (const chunk of await client.download(pathOf(id!, "/raw"))) await invocation.io.outBytes(chunk);
  });
  return EXIT.ok;
}

async function runReplay(invocation: Invocation): Promise<number> {
  const [id] = invocation.args;
  const answer = await onDaemon(invocation, (client) => client.request("POST", pathOf(id!, "/replay")));
  const count = Number((answer as Item | null)?.replayed ?? 0);
  const text = `${count} ${count === 1 ? "webhook" : "webhooks"} queued again\n`;
  invocation.io.out(isOn(invocation.flags, "json") ? json(answer) : text);
  return EXIT.ok;
}

async function runCancel(invocation: Invocation): Promise<number> {
  const [id] = invocation.args;
  const answer = await onDaemon(invocation, (client) => client.request("POST", pathOf(id!, "/cancel")));
  const count = Number((answer as Item | null)?.cancelled ?? 0);
  const text = count === 0
    ? "nothing left to cancel: no recipient is waiting\n"
    : `${count} ${count === 1 ? "recipient" : "recipients"} cancelled\n`;
  invocation.io.out(isOn(invocation.flags, "json") ? json(answer) : text);
  return EXIT.ok;
}

/** Several at once is a loop in the shell; one id keeps one answer. */
const ONE_ID = { min: 1, max: 1 };

/** Of every list. */
export const PAGE_FLAGS = [
  { name: "limit", kind: "value", placeholder: "N", summary: "how many at most" },
  { name: "cursor", kind: "value", placeholder: "C", summary: "goes on after an earlier page" },
] as const;

export const messageCommands: readonly Command[] = [
  {
    name: "message list",
    summary: "Lists stored mail, newest first",
    usage: "[--limit N] [--cursor C] [--direction D] [--sender S] [--recipient R] [--verdict V] [--json]",
    flags: [
      ...PAGE_FLAGS,
      { name: "direction", kind: "value", placeholder: "D", summary: "only inbound, or only outbound" },
      { name: "sender", kind: "value", placeholder: "S", summary: "only from this envelope sender" },
      { name: "recipient", kind: "list", placeholder: "R", summary: "only to this recipient" },
      { name: "verdict", kind: "value", placeholder: "V", summary: "only accept, or only quarantine" },
      JSON_FLAG,
      CONTROL_FLAG,
    ],
    examples: [
      "message list --direction outbound",
      "message list --verdict quarantine",
      "message list --recipient info@example.com --json",
    ],
    run: runList,
  },
  {
    name: "message show",
    summary: "Shows what is known about a mail",
    usage: "ID [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: ONE_ID,
    examples: ["message show 01JBX2G7S9T4Q0V8N3M5K6H1CD"],
    run: runShow,
  },
  {
    name: "message raw",
    summary: "Writes the exact bytes of a mail to stdout",
    usage: "ID",
    flags: [CONTROL_FLAG],
    args: ONE_ID,
    examples: ["message raw 01JBX2G7S9T4Q0V8N3M5K6H1CD > mail.eml"],
    run: runRaw,
  },
  {
    name: "message replay",
    summary: "Sends the webhooks of a mail again",
    usage: "ID [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: ONE_ID,
    examples: ["message replay 01JBX2G7S9T4Q0V8N3M5K6H1CD"],
    run: runReplay,
  },
  {
    name: "message cancel",
    summary: "Gives up what is not sent yet of an outbound mail",
    usage: "ID [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: ONE_ID,
    examples: ["message cancel 01JBX2G7S9T4Q0V8N3M5K6H1CD"],
    run: runCancel,
  },
];
