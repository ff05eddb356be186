/** `suppression list|add|remove`: the addresses that are not written to, after a bounce, a complaint, or by hand. */

import { printable } from "../base/printable.ts";
import { type Command, EXIT, type Invocation, isOn, numberOf, valueOf } from "./command.ts";
import { CONTROL_FLAG, JSON_FLAG, onDaemon } from "./context.ts";
import { segment } from "./control_client.ts";
import { json } from "./format.ts";
import { PAGE_FLAGS, printPage } from "./message.ts";

/** One address finds its entry, in whatever spelling. */
async function runList(invocation: Invocation): Promise<number> {
  const { flags, args } = invocation;
  const query = {
    address: args[0],
    reason: valueOf(flags, "reason"),
    limit: numberOf(flags, "limit"),
    cursor: valueOf(flags, "cursor"),
  };
  const answer = await onDaemon(
    invocation,
    (client) => client.request("GET", "/v1/suppressions", { query }),
  );
  const columns = [
    ["ADDRESS", "address"],
    ["REASON", "reason"],
    ["SINCE", "created_at"],
    ["MESSAGE", "message_id"],
    ["DETAIL", "detail"],
  ] as const;
  return printPage(invocation, answer, columns, "no addresses are suppressed");
}

/** The daemon answers with the entry as it stands: one that was there keeps its reason. */
async function runAdd(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const detail = valueOf(flags, "detail");
  const body = { address: args[0]!, ...(detail !== undefined && { detail }) };
  const answer = await onDaemon(
    invocation,
    (client) => client.request("POST", "/v1/suppressions", { body }),
  );
  const { address, reason, created_at } = (answer ?? {}) as Record<string, unknown>;
  const entry = `${address ?? args[0]} is not written to (${reason ?? "manual"}, since ${
    created_at ?? "now"
  })`;
  io.out(isOn(flags, "json") ? json(answer) : `${printable(entry)}\n`);
  return EXIT.ok;
}

async function runRemove(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const path = `/v1/suppressions/${segment(args[0]!)}`;
  const answer = await onDaemon(invocation, (client) => client.request("DELETE", path));
  io.out(isOn(flags, "json") ? json(answer) : `${printable(args[0]!)} is written to again\n`);
  return EXIT.ok;
}

export const suppressionCommands: readonly Command[] = [
  {
    name: "suppression list",
    summary: "Lists the addresses that are not written to, newest first",
    usage: "[ADDRESS] [--reason R] [--limit N] [--cursor C] [--json]",
    flags: [
      { name: "reason", kind: "value", placeholder: "R", summary: "only bounce, complaint or manual" },
      ...PAGE_FLAGS,
      JSON_FLAG,
      CONTROL_FLAG,
    ],
    args: { min: 0, max: 1 },
    examples: ["suppression list --reason bounce", "suppression list ann@example.org"],
    run: runList,
  },
  {
    name: "suppression add",
    summary: "Writes to an address no longer",
    usage: "ADDRESS [--detail TEXT] [--json]",
    flags: [
      { name: "detail", kind: "value", placeholder: "TEXT", summary: "why, to be shown in the list" },
      JSON_FLAG,
      CONTROL_FLAG,
    ],
    args: { min: 1, max: 1 },
    examples: ["suppression add ann@example.org --detail 'asked by telephone'"],
    run: runAdd,
  },
  {
    name: "suppression remove",
    summary: "Writes to an address again",
    usage: "ADDRESS [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: { min: 1, max: 1 },
    examples: ["suppression remove ann@example.org"],
    run: runRemove,
  },
];
