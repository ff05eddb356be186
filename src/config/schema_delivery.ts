/** The keys about mail going on: webhooks and their routes, and outgoing mail. */

import { z } from "zod";
import {
  boolean,
  choice,
  duration,
  httpUrl,
  integer,
  key,
  list,
  size,
  text,
  webhookSecret,
} from "./schema_kinds.ts";
import { parseAddress } from "../base/address.ts";
import { parseListen, readDomain } from "./notation.ts";

/** Ages are measured in days. */
const DAY_MS = 86_400_000;
/** Every recipient is matched against all of them. */
const ROUTES_MAX = 1000;

/** Every event a route can ask for. */
export const EVENT_NAMES = [
  "mail.received",
  "mail.queued",
  "mail.delivered",
  "mail.deferred",
  "mail.bounced",
  "mail.complained",
  "mail.dropped",
  "mail.unsubscribed",
] as const;

/** `*`, `*@domain` or an exact address, its domain in lower-case A-labels; null for anything else. */
export function normalizeMatch(value: string): string | null {
  if (value === "*") return value;
  const at = value.lastIndexOf("@");
  if (at < 1) return null;
  const local = value.slice(0, at);
  const name = readDomain(value.slice(at + 1));
  const wild = local.includes("*") && local !== "*";
  if (name === null || wild || local.length > 64 || /\s/.test(local)) return null;
  return `${local}@${name}`;
}

const hostAndPort = text("host:port").refine((value) => {
  const address = parseListen(value);
  return address !== null && "host" in address && address.port > 0;
}, { error: "must be host:port or [v6]:port" });

const ipAddress = text("an IP address").refine((value) => parseAddress(value) !== null, {
  error: "must be an IP address",
});

/** A route's match, in the one spelling that addresses are compared in. */
const match = text("an address").transform((value, context) => {
  const normal = normalizeMatch(value);
  if (normal === null) {
    context.addIssue({ code: "custom", message: "must be an exact address, *@domain or *" });
    return z.NEVER;
  }
  return normal;
});

/** One route. Unknown parts are errors here as well: a mistyped `events` would send everything. */
const route = z.strictObject({
  match: match.describe("Which recipients: an exact address, *@domain or *."),
  url: httpUrl().describe("Where their events go."),
  secret: webhookSecret().optional().describe("Signs instead of webhook_secret."),
  secret_file: text("a path").optional().describe("A file with the value of secret."),
  events: list(choice(...EVENT_NAMES), "event names").optional().describe(
    "Only these events; all by default.",
  ),
  on_reject: choice("drop", "bounce").prefault("drop").describe(
    "Whether the sender is told of mail the receiver refuses for good.",
  ),
}, { error: (issue) => issue.code === "invalid_type" ? "must have match and url" : undefined });

/** Where events go, and how hard is tried. */
const webhookKeys = {
  webhook_url: key(httpUrl().optional(), {
    description: "Where events go that no route takes.",
    group: "Webhooks",
    kind: "text",
    example: "https://app.example.com/hooks/mail",
  }),
  webhook_secret: key(webhookSecret().optional(), {
    description: "Signs webhooks (Standard Webhooks).",
    group: "Webhooks",
    kind: "text",
    example: "",
    secret: true,
    defaultNote: "generated and kept in data_dir",
  }),
  webhook_secret_next: key(webhookSecret().optional(), {
    description: "A second secret to sign with, while the receiver changes over.",
    group: "Webhooks",
    kind: "text",
    example: "",
    secret: true,
  }),
  webhook_bearer_token: key(
    text("a token").regex(/^[\x21-\x7e]+$/, { error: "must be printable ASCII without spaces" }).optional(),
    {
      description: "Sent to the receiver as Authorization: Bearer.",
      group: "Webhooks",
      kind: "text",
      example: "",
      secret: true,
    },
  ),
  webhook_timeout: key(duration(1, 3_600_000).prefault("30s"), {
    description: "How long the receiver may take to answer.",
    group: "Webhooks",
    kind: "duration",
    example: "30s",
  }),
  webhook_max_age: key(duration(1, 365 * DAY_MS).prefault("3d"), {
    description: "How long a webhook is tried before it is kept as a dead letter.",
    group: "Webhooks",
    kind: "duration",
    example: "3d",
  }),
  webhook_concurrency: key(integer(1, 1000).prefault(16), {
    description: "Webhooks in flight to one endpoint.",
    group: "Webhooks",
    kind: "integer",
    example: 16,
  }),
  webhook_inline_max: key(size(0, 64 * 2 ** 20).prefault("1MB"), {
    description: "Mail larger than this is named by URL in the payload.",
    group: "Webhooks",
    kind: "size",
    example: "1MB",
  }),
  webhook_allow_private: key(boolean().prefault(false), {
    description: "Allows receivers on private, loopback and link-local addresses.",
    group: "Webhooks",
    kind: "boolean",
    example: false,
  }),
  routes: key(
    z.array(route, { error: "must be a list of {match, url}" })
      .max(ROUTES_MAX, { error: `must have at most ${ROUTES_MAX} entries` }).prefault([]),
    {
      description: "Which recipient's events go where; the first match wins.",
      group: "Webhooks",
      kind: "routes",
      example: [{ match: "*@example.com", url: "https://app.example.com/hooks/mail" }],
      defaultNote: "one route * to webhook_url",
    },
  ),
};

/** How mail goes out, and what it is signed with besides the keys that `dkim generate` makes. */
const outboundKeys = {
  outbound_transport: key(choice("postfix", "direct").prefault("postfix"), {
    description:
      "How mail goes out: through a smarthost such as Postfix, or directly to the recipients' servers.",
    group: "Outgoing mail",
    kind: "choice",
    example: "postfix",
  }),
  outbound_smarthost: key(hostAndPort.prefault("127.0.0.1:10026"), {
    description: "The smarthost, for outbound_transport postfix.",
    group: "Outgoing mail",
    kind: "text",
    example: "127.0.0.1:10026",
  }),
  outbound_port: key(integer(1, 65535).prefault(25), {
    description: "Port of the recipients' servers, for outbound_transport direct.",
    group: "Outgoing mail",
    kind: "integer",
    example: 25,
  }),
  outbound_source_address: key(ipAddress.optional(), {
    description: "Local address that outgoing connections come from.",
    group: "Outgoing mail",
    kind: "text",
    example: "192.0.2.25",
  }),
  outbound_allow_private: key(boolean().prefault(false), {
    description: "Allows recipients' servers on private addresses.",
    group: "Outgoing mail",
    kind: "boolean",
    example: false,
  }),
  outbound_max_age: key(duration(1, 365 * DAY_MS).prefault("5d"), {
    description: "How long a mail is tried before it is given up.",
    group: "Outgoing mail",
    kind: "duration",
    example: "5d",
  }),
  dkim_sign_outbound: key(boolean().prefault(true), {
    description: "Signs outgoing mail with DKIM, where its domain has a key.",
    group: "Outgoing mail",
    kind: "boolean",
    example: true,
  }),
  dkim_selector: key(
    text("a selector").regex(/^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/i, { error: "must be a DNS label" })
      .prefault("default"),
    {
      description: "Selector of dkim_private_key_path.",
      group: "Outgoing mail",
      kind: "text",
      example: "default",
    },
  ),
  dkim_private_key_path: key(text("a path").optional(), {
    description:
      "A private key to sign mail of primary_domain with, PEM, until `dkim activate` gives it others.",
    group: "Outgoing mail",
    kind: "text",
    example: "/etc/gomail/dkim/default.pem",
  }),
  dkim_passphrase: key(text("a passphrase").optional(), {
    description: "Encrypts the private keys that `dkim generate` makes, and opens them.",
    group: "Outgoing mail",
    kind: "text",
    example: "",
    secret: true,
  }),
};

export const deliveryKeys = { ...webhookKeys, ...outboundKeys };
