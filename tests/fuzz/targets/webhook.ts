/** Webhooks: what a receiver's answer means, when the next attempt is, and signatures on bodies and URLs. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import { reasonText } from "../../../src/delivery/reason.ts";
import { DUE_AHEAD_MS_MAX, nextAttemptAt } from "../../../src/delivery/schedule.ts";
import { outcomeOf, parseRetryAfter } from "../../../src/delivery/webhook/answer.ts";
import { sign, verify } from "../../../src/delivery/webhook/sign.ts";
import { signPath, verifySignedPath } from "../../../src/events/signed_url.ts";
import { hostile, latin1Text, mutated, soup } from "../arbitraries.ts";
import { type FuzzTarget, property } from "../property.ts";

const NOW = Date.UTC(2026, 0, 1);
const [RETRY_MS_MIN, RETRY_MS_MAX] = [1_000, 3_600_000];

const httpDate = fc.integer({ min: NOW / 1000 - 86_400, max: NOW / 1000 + 86_400 }).map((seconds) =>
  new Date(seconds * 1000).toUTCString()
);
const retryAfter = fc.oneof(
  fc.bigInt({ min: -10n, max: 10n ** 30n }).map(String),
  httpDate,
  fc.constantFrom(
    "Thursday, 01-Jan-26 00:01:00 GMT",
    "Thu Jan  1 00:01:00 2026",
    "Thu, 32 Jan 2026 00:00:00 GMT",
  ),
  mutated(httpDate, ["0", "-", "GMT", "9999", " ", ","]),
  soup(["0", "9", "1e9", "-1", ".", " ", "Infinity", "NaN", "0x10", "Sun,", "GMT", "120"], 6),
  hostile,
);

const answers = property(
  "an-answer-means-one-thing",
  fc.record({ status: fc.integer({ min: 100, max: 999 }), retryAfter: fc.option(retryAfter) }),
  ({ status, retryAfter }) => {
    const outcome = outcomeOf({ status, retryAfter }, NOW);
    const kind = status >= 200 && status < 300
      ? "delivered"
      : [406, 410, 422].includes(status)
      ? "failed"
      : "deferred";
    assertEquals([outcome.kind, outcome.code], [kind, status]);
    if (outcome.kind === "delivered") return;
    assert(/^Receiver answered \d{3}[ -~]*$/.test(outcome.error));
    const wait = outcome.kind === "deferred" ? outcome.retryAfterMs : undefined;
    if (status !== 429 && status !== 503) return assertEquals(wait, undefined);
    if (wait !== undefined) assert(wait >= RETRY_MS_MIN && wait <= RETRY_MS_MAX, `waits ${wait} ms`);
    const text = retryAfter?.trim() ?? "";
    // RFC 9110 10.2.3: whole seconds, whatever their size.
    if (/^\d+$/.test(text)) {
      assertEquals(
        wait,
        Math.min(Math.max(Number(text) * 1000, RETRY_MS_MIN), RETRY_MS_MAX),
      );
    }
    if (/^[^A-Z]*$/.test(text) && !/^\d+$/.test(text)) assertEquals(wait, undefined);
  },
);

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/** RFC 9110 5.6.7: the one form that is written, and the two old ones that are to be understood. */
function forms(date: Date): string[] {
  const text = date.toUTCString();
  const [, day = "", month = "", year = "", time = ""] = /^\w+, (\d+) (\w+) (\d+) ([\d:]+) GMT$/.exec(text)!;
  const name = DAYS[date.getUTCDay()]!;
  return [
    text,
    `${name}, ${day}-${month}-${year.slice(-2)} ${time} GMT`,
    `${name.slice(0, 3)} ${month} ${String(Number(day)).padStart(2)} ${time} ${year}`,
  ];
}

const dates = property("a-date-is-waited-for-in-every-form", httpDate, (date) => {
  const wanted = Math.min(Math.max(Date.parse(date) - NOW, RETRY_MS_MIN), RETRY_MS_MAX);
  for (const form of forms(new Date(date))) assertEquals(parseRetryAfter(form, NOW), wanted, form);
});

const reasons = property(
  "an-error-never-quotes-the-other-side",
  fc.record({
    message: hostile,
    code: fc.oneof(
      hostile,
      fc.constantFrom("ECONNRESET", "HPE_X", "CERT_HAS_EXPIRED", "__proto__", "toString"),
    ),
  }),
  ({ message, code }) => {
    const reason = reasonText(Object.assign(new Error(message), { code }));
    assert(typeof reason === "string" && /^[a-z A-Z:']{5,60}$/.test(reason), String(reason));
    assertEquals(reasonText(code), "connection failed");
  },
);

const schedule = property(
  "the-next-attempt-is-in-reach",
  fc.record({
    attempts: fc.oneof(fc.integer({ min: -1, max: 10 }), fc.nat()),
    ageMs: fc.integer({ min: -1000, max: 10 * 86_400_000 }),
    retryAfterMs: fc.option(fc.oneof(fc.integer(), fc.double({ noNaN: true })), { nil: undefined }),
    dice: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  ({ attempts, ageMs, retryAfterMs, dice }) => {
    const expiresAtMs = NOW + ageMs;
    const at = nextAttemptAt({ attempts, nowMs: NOW, expiresAtMs, retryAfterMs, random: () => dice });
    assertEquals(at === null, ageMs <= 0);
    if (at === null) return;
    assert(
      Number.isInteger(at) && at > NOW && at <= expiresAtMs && at - NOW <= DUE_AHEAD_MS_MAX,
      `at ${at - NOW}`,
    );
    if (at === expiresAtMs) return;
    if (retryAfterMs === undefined) assert(at - NOW >= 4_000, "sooner than the first step");
    else {assert(
        at - NOW >= Math.min(Math.max(Math.floor(retryAfterMs), RETRY_MS_MIN), RETRY_MS_MAX),
        "sooner than asked for",
      );}
  },
);

const KEY = "5c".repeat(32);
const pathText = fc.oneof(
  fc.stringMatching(/^\/v1\/messages\/[0-9A-Z]{26}\/(raw|attachments\/\d{1,3})$/),
  hostile,
);
const expiry = fc.integer({ min: 0, max: 2 * NOW / 1000 });

const urls = property(
  "a-signed-url-opens-one-thing-in-time",
  fc.record({
    path: pathText,
    other: pathText,
    expires: expiry,
    nowMs: fc.integer({ min: 0, max: 2 * NOW }),
  }),
  ({ path, other, expires, nowMs }) => {
    const query = signPath(KEY, path, expires);
    assertEquals(verifySignedPath(KEY, path, query, nowMs), nowMs < expires * 1000);
    assertEquals(verifySignedPath(KEY, other, query, 0), other === path && expires > 0);
    assertEquals(verifySignedPath("5d".repeat(32), path, query, 0), false);
  },
);

const forgeries = property(
  "a-changed-url-is-void",
  fc.tuple(pathText, expiry).chain(([path, expires]) => {
    const query = signPath(KEY, path, expires + 1);
    return fc.record({
      path: fc.constant(path),
      query: fc.constant(query),
      changed: mutated(fc.constant(query), ["=", "&", "expires=", "signature=", "%", "A", "0", "9", "-"]),
    });
  }),
  ({ path, query, changed }) => {
    const [was, is] = [new URLSearchParams(query), new URLSearchParams(changed)];
    const same = ["expires", "signature"].every((name) => was.get(name) === is.get(name));
    // Only the last character has bits that mean nothing.
    const [wasSignature, isSignature] = [was.get("signature")!, is.get("signature") ?? ""];
    const sameBits = was.get("expires") === is.get("expires") && isSignature.length === 43 &&
      isSignature.slice(0, 42) === wasSignature.slice(0, 42);
    const sameNumber = Number(was.get("expires")) === Number(is.get("expires")) &&
      wasSignature === isSignature;
    const valid = verifySignedPath(KEY, path, changed, 0);
    assert(same ? valid : !valid || sameBits || sameNumber, changed);
  },
);

const secret = fc.uint8Array({ minLength: 24, maxLength: 64 }).map((bytes) => `whsec_${bytes.toBase64()}`);
const SIGN_WORDS = ["v1,", "v2,", " ", "=", "A", "v1a,", ","];

const signatures = property(
  "the-official-library-agrees",
  fc.record({
    secrets: fc.array(secret, { minLength: 1, maxLength: 2 }),
    id: fc.stringMatching(/^[ -~]{1,40}$/),
    body: fc.uint8Array({ maxLength: 60 }),
    flip: fc.nat(),
  }),
  ({ secrets, id, body, flip }) => {
    // The library has no clock to pass in.
    const seconds = Math.floor(Date.now() / 1000);
    const signature = sign(secrets, id, seconds, body);
    for (const secret of secrets) {
      // The library parses what it verified, so its body is JSON.
      const text = JSON.stringify(latin1Text(body));
      const sent = sign(secrets, id, seconds, new TextEncoder().encode(text));
      const stamp = String(seconds);
      new Webhook(secret).verify(text, {
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": sent,
      });
      const request = { id, timestamp: String(seconds), signature, body };
      assertEquals(verify(secret, request, seconds * 1000), true);
      const other = body.length > 0
        ? body.map((byte, i) => i === flip % body.length ? byte ^ 1 : byte)
        : Uint8Array.of(0);
      assertEquals(verify(secret, { ...request, body: other }, seconds * 1000), false);
      assertEquals(verify(secret, request, (seconds + 301) * 1000), false);
    }
  },
);

const junkSignatures = property(
  "a-junk-signature-is-none",
  fc.record({
    secret,
    id: fc.option(hostile),
    timestamp: fc.option(fc.oneof(hostile, fc.constant("1767225600"))),
    signature: fc.option(soup(SIGN_WORDS, 20)),
    body: fc.uint8Array({ maxLength: 20 }),
  }),
  ({ secret, ...request }) => assertEquals(verify(secret, request, NOW), false),
);

export function open(): FuzzTarget {
  return { properties: [answers, dates, reasons, schedule, urls, forgeries, signatures, junkSignatures] };
}
