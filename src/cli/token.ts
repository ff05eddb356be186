/**
 * `token create|list|revoke`: the API's tokens. Creating one prints it alone on stdout, so that a script can take
 * it as it is; what a person should know besides goes to stderr.
 */

import { printable } from "../base/printable.ts";
import {
  type Command,
  CommandError,
  EXIT,
  type Invocation,
  isOn,
  numberOf,
  UsageError,
  valueOf,
} from "./command.ts";
import { CONTROL_FLAG, JSON_FLAG, onDaemon } from "./context.ts";
import { segment } from "./control_client.ts";
import { cellOf, json } from "./format.ts";
import { PAGE_FLAGS, pageOf, printPage } from "./message.ts";

async function runCreate(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const scopes = (flags.get("scope") ?? []).flatMap((text) => text.split(",")).map((word) => word.trim());
  if (scopes.length === 0) throw new UsageError("--scope is missing: send, read, inbound or admin");
  const body = {
    name: args[0],
    scopes,
    expires_in: valueOf(flags, "expires"),
    rate_limit_per_minute: numberOf(flags, "rate-limit"),
    rate_limit_burst: numberOf(flags, "burst"),
  };
  const answer = await onDaemon(invocation, (client) => client.request("POST", "/v1/tokens", { body }));
  if (isOn(flags, "json")) {
    io.out(json(answer));
    return EXIT.ok;
  }
  const { token, id, expires_at } = (answer ?? {}) as Record<string, unknown>;
  if (typeof token !== "string") throw new CommandError("Cannot use the daemon's answer: it has no token");
  io.out(`${printable(token)}\n`);
  const until = expires_at ? `good until ${cellOf(expires_at)}` : "good until it is revoked";
  io.err(`${printable(`token ${cellOf(id)} is ${until}; it is shown this once, so keep it now`)}\n`);
  return EXIT.ok;
}

/** How a token's limits and state look in one cell each. */
function shown(item: Record<string, unknown>): Record<string, unknown> {
  const { rate_limit_per_minute: perMinute, rate_limit_burst: burst, expired, expires_at } = item;
  return {
    ...item,
    limit: perMinute ? `${perMinute}/min, ${burst} at once` : null,
    expires: expired === true ? `${cellOf(expires_at)} (expired)` : expires_at,
  };
}

async function runList(invocation: Invocation): Promise<number> {
  const { flags } = invocation;
  const query = { limit: numberOf(flags, "limit"), cursor: valueOf(flags, "cursor") };
  const answer = await onDaemon(invocation, (client) => client.request("GET", "/v1/tokens", { query }));
  const columns = [
    ["ID", "id"],
    ["NAME", "name"],
    ["SCOPES", "scopes"],
    ["LIMIT", "limit"],
    ["CREATED", "created_at"],
    ["EXPIRES", "expires"],
    ["LAST USED", "last_used_at"],
  ] as const;
  const page = pageOf(answer);
  const display = isOn(flags, "json") ? answer : { ...page, items: page.items.map(shown) };
  return printPage(invocation, display, columns, "no tokens but bearer_token");
}

async function runRevoke(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const id = args[0]!;
  // A whole token was pasted: it must not get into a path, which ends up in logs.
  if (id.startsWith("gmt_")) throw new UsageError("an id is needed, not the token: the part after gmt_");
  const path = `/v1/tokens/${segment(id)}`;
  const answer = await onDaemon(invocation, (client) => client.request("DELETE", path));
  io.out(isOn(flags, "json") ? json(answer) : `${printable(id)} is good for nothing any more\n`);
  return EXIT.ok;
}

export const tokenCommands: readonly Command[] = [
  {
    name: "token create",
    summary: "Makes an API token and prints it, this once",
    usage: "NAME --scope S,... [--expires D] [--rate-limit N] [--burst N] [--json]",
    flags: [
      {
        name: "scope",
        kind: "list",
        placeholder: "S",
        summary: "what it may do: send, read, inbound, admin (all of it); comma-separated or repeated",
      },
      { name: "expires", kind: "value", placeholder: "D", summary: "how long it is good for, such as 90d" },
      {
        name: "rate-limit",
        kind: "value",
        placeholder: "N",
        summary: "requests per minute; none without it",
      },
      {
        name: "burst",
        kind: "value",
        placeholder: "N",
        summary: "how many of them at once; a sixth when not given",
      },
      JSON_FLAG,
      CONTROL_FLAG,
    ],
    args: { min: 1, max: 1 },
    examples: [
      "token create shop --scope send --expires 90d",
      "token create dashboard --scope read --rate-limit 600 --burst 50",
    ],
    run: runCreate,
  },
  {
    name: "token list",
    summary: "Lists the API's tokens, newest first, without their secrets",
    usage: "[--limit N] [--cursor C] [--json]",
    flags: [...PAGE_FLAGS, JSON_FLAG, CONTROL_FLAG],
    examples: ["token list"],
    run: runList,
  },
  {
    name: "token revoke",
    summary: "Ends an API token at once",
    usage: "ID [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: { min: 1, max: 1 },
    examples: ["token revoke 7k2m9xq4h1tc"],
    run: runRevoke,
  },
];
