/** `ban list|add|remove`: who is kept out of the SMTP doors and, without a valid token, of the API. */

import { printable } from "../base/printable.ts";
import { type Command, EXIT, type Invocation, isOn, numberOf, valueOf } from "./command.ts";
import { CONTROL_FLAG, JSON_FLAG, onDaemon } from "./context.ts";
import { segment } from "./control_client.ts";
import { json } from "./format.ts";
import { PAGE_FLAGS, pageOf, printPage } from "./message.ts";

const NO_END = "removed by hand";

/** An address finds every ban that covers it. A ban without an end says so; "-" would hide it. */
async function runList(invocation: Invocation): Promise<number> {
  const { flags, args } = invocation;
  const query = { address: args[0], limit: numberOf(flags, "limit"), cursor: valueOf(flags, "cursor") };
  const answer = await onDaemon(invocation, (client) => client.request("GET", "/v1/bans", { query }));
  const page = pageOf(answer);
  const items = page.items.map((item) => ({ ...item, expires_at: item.expires_at ?? NO_END }));
  const columns = [
    ["RANGE", "range"],
    ["SINCE", "created_at"],
    ["UNTIL", "expires_at"],
    ["TIMES", "times"],
    ["REASON", "reason"],
  ] as const;
  const shown = isOn(flags, "json") ? answer : { ...page, items };
  return printPage(invocation, shown, columns, "nobody is banned");
}

/** Says as well whom of the range the allowlist still lets in, because the ban alone would not show it. */
async function runAdd(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const [duration, reason] = [valueOf(flags, "for"), valueOf(flags, "reason")];
  const body = {
    range: args[0]!,
    ...(duration !== undefined && { duration }),
    ...(reason !== undefined && { reason }),
  };
  const answer = await onDaemon(invocation, (client) => client.request("POST", "/v1/bans", { body }));
  if (isOn(flags, "json")) {
    io.out(json(answer));
    return EXIT.ok;
  }
  const { range, expires_at, exempt } = (answer ?? {}) as Record<string, unknown>;
  io.out(`${printable(`${range ?? args[0]} is banned until ${expires_at ?? NO_END}`)}\n`);
  if (Array.isArray(exempt) && exempt.length > 0) {
    io.err(`${printable(`let in all the same, by connection_allowlist: ${exempt.join(", ")}`)}\n`);
  }
  return EXIT.ok;
}

/** Says as well which ban it was, which may be of a network, and what still keeps out who was named. */
async function runRemove(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const path = `/v1/bans/${segment(args[0]!)}`;
  const answer = await onDaemon(invocation, (client) => client.request("DELETE", path));
  if (isOn(flags, "json")) {
    io.out(json(answer));
    return EXIT.ok;
  }
  const { range, still_banned_by: still } = (answer ?? {}) as Record<string, unknown>;
  io.out(`${printable(`the ban of ${range ?? args[0]} is lifted`)}\n`);
  if (Array.isArray(still) && still.length > 0) {
    io.err(`${printable(`${args[0]} is still kept out, by ${still.join(", ")}`)}\n`);
  }
  return EXIT.ok;
}

export const banCommands: readonly Command[] = [
  {
    name: "ban list",
    summary: "Lists the bans in force, newest first, or those that cover an address",
    usage: "[ADDRESS] [--limit N] [--cursor C] [--json]",
    flags: [...PAGE_FLAGS, JSON_FLAG, CONTROL_FLAG],
    args: { min: 0, max: 1 },
    examples: ["ban list", "ban list 192.0.2.7 --json"],
    run: runList,
  },
  {
    name: "ban add",
    summary: "Bans an address or a network, until it is removed or for a time",
    usage: "RANGE [--for DURATION] [--reason TEXT] [--json]",
    flags: [
      { name: "for", kind: "value", placeholder: "DURATION", summary: "how long, such as 1h or 7d" },
      { name: "reason", kind: "value", placeholder: "TEXT", summary: "why, to be shown in the list" },
      JSON_FLAG,
      CONTROL_FLAG,
    ],
    args: { min: 1, max: 1 },
    examples: ["ban add 192.0.2.0/24 --for 7d --reason 'spam run'", "ban add 2001:db8:1:2::/64"],
    run: runAdd,
  },
  {
    name: "ban remove",
    summary: "Lifts a ban and forgets its history",
    usage: "RANGE [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: { min: 1, max: 1 },
    examples: ["ban remove 192.0.2.0/24"],
    run: runRemove,
  },
];
