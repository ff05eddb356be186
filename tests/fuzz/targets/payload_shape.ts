/** The promised shape of `mail.received`, checked key by key: what a receiver in a typed language would stumble over. */

import { assert, assertEquals } from "@std/assert";

type Check = (value: unknown, path: string) => void;
type Shape = Record<string, Check>;

const fail = (path: string, what: string) => assert(false, `${path} is not ${what}`);
const text: Check = (value, path) => {
  if (typeof value !== "string" || !value.isWellFormed()) fail(path, "well-formed text");
};
const count: Check = (value, path) => {
  if (!Number.isInteger(value) || (value as number) < 0) fail(path, "a count");
};
const bool: Check = (value, path) => {
  if (typeof value !== "boolean") fail(path, "true or false");
};
const anything: Check = () => {};
const nullable = (check: Check): Check => (value, path) => value === null || check(value, path);
const one = (...values: string[]): Check => (value, path) => {
  if (!values.includes(value as string)) fail(path, values.join("|"));
};
const list = (check: Check): Check => (value, path) => {
  if (!Array.isArray(value)) return fail(path, "a list");
  value.forEach((item, i) => check(item, `${path}[${i}]`));
};
const pair: Check = (value, path) => {
  list(text)(value, path);
  assertEquals((value as unknown[]).length, 2, path);
};
const base64: Check = (value, path) => {
  text(value, path);
  assertEquals(Uint8Array.fromBase64(value as string).toBase64(), value as string, path);
};

/** Exactly these keys; those that end with `?` may be missing. */
const object = (shape: Shape): Check => (value, path) => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return fail(path, "an object");
  const known = new Map(Object.entries(shape).map(([key, check]) => [key.replace(/\?$/, ""), check]));
  const strange = Object.keys(value).filter((key) => !known.has(key));
  assertEquals(strange, [], path);
  for (const key of Object.keys(shape)) {
    const name = key.replace(/\?$/, "");
    if (name in value) known.get(name)!((value as Record<string, unknown>)[name], `${path}.${name}`);
    else if (name === key) fail(`${path}.${name}`, "there");
  }
};

const attachment = object({
  filename: nullable(text),
  content_type: text,
  size: count,
  "content_id?": text,
  disposition: nullable(text),
  "content_base64?": base64,
  "url?": text,
});

/** Parsed JSON of the payload; connection and authentication come from the record and are not parsed from the mail. */
export const payloadShape: Check = object({
  event: one("mail.received"),
  id: text,
  sender: text,
  recipient: text,
  recipients: list(text),
  received_at: text,
  "raw?": text,
  "raw_base64?": base64,
  "raw_url?": text,
  size_bytes: count,
  subject: nullable(text),
  message_id: nullable(text),
  from_header: nullable(text),
  to_header: nullable(text),
  headers: list(pair),
  text: nullable(text),
  html: nullable(text),
  attachments: list(attachment),
  parse_status: one("complete", "partial"),
  connection: anything,
  authentication: anything,
  verdict: one("accept", "quarantine"),
  report: nullable(object({
    kind: one("bounce", "delay", "delivery", "complaint", "feedback", "auto_reply"),
    id: text,
    recipient: text,
  })),
  metadata: object({ request_id: text, processing_time_ms: count, size_bytes: count, attachments: count }),
});

const verdict = (results: string[], more: Shape): Check =>
  object({ result: one(...results), "reason?": text, ...more });

/** A complete verdict of all four checks. */
export const authenticationShape: Check = object({
  spf: verdict(["pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"], {
    client_ip: nullable(text),
    mail_from: text,
    helo_domain: nullable(text),
    received_spf_header: nullable(text),
  }),
  dkim: verdict(["pass", "fail", "none", "neutral", "policy", "temperror", "permerror"], {
    signatures: list(
      object({ domain: text, selector: text, algorithm: text, valid: bool, aligned: bool, "reason?": text }),
    ),
    from_domain: nullable(text),
    signed_by: list(text),
  }),
  dmarc: verdict(["pass", "fail", "none", "temperror", "permerror"], {
    policy: nullable(one("none", "quarantine", "reject")),
    from_header: nullable(text),
    return_path: text,
    spf_alignment: bool,
    dkim_alignment: bool,
    authentication_results: text,
  }),
  arc: verdict(["pass", "fail", "none", "temperror", "permerror"], { chain: list(text) }),
});
