/**
 * A signed sample, sent once and not queued: for whoever sets up a receiver and wants to see what it answers. It is
 * a `mail.received` of a mail that never was, made by the same code as a real one, with `"sample": true` beside its
 * fields; it goes through the same door, is signed by the same secrets, and has the same deadline.
 */

import { newId } from "../../base/id.ts";
import { printable } from "../../base/printable.ts";
import { newWebhookSecret } from "../../base/secret.ts";
import { routesOf } from "../../events/jobs.ts";
import type { SampleResult, SampleWish } from "../../events/types.ts";
import type { MessageRecord } from "../../store/types.ts";
import { Egress, EgressError } from "../egress/mod.ts";
import { outcomeOf } from "./answer.ts";
import { type WebhookConfig, type WebhookDeps } from "./carrier.ts";
import { requestHeaders } from "./request_headers.ts";

const HEADER_BYTES_MAX = 32 * 1024;
const BODY_BYTES_MAX = 64 * 1024;
const SHOWN_CHARS_MAX = 500;
/** Receivers tried in one call; more would outlast the request that waits for them. */
const RECEIVERS_MAX = 20;

const BODY = `This is a sample: no such mail was received.\r\n`;

function sampleRecord(now: number): MessageRecord {
  const id = newId();
  const mailFrom = "sender@example.org";
  const hello = "mail.example.org";
  return {
    id,
    direction: "inbound",
    outbound: null,
    report: null,
    requestId: newId(),
    receivedAt: now,
    mailFrom,
    recipients: ["recipient@example.com"],
    subject: "A sample from GoMail",
    messageIdHeader: `<${id.toLowerCase()}@example.org>`,
    fromHeader: `Sample Sender <${mailFrom}>`,
    toHeader: "recipient@example.com",
    sizeBytes: 0,
    utf8: true,
    connection: { client_address: "192.0.2.1", client_hostname: hello, client_helo: hello, tls: null },
    authentication: {
      spf: {
        result: "none",
        client_ip: "192.0.2.1",
        mail_from: mailFrom,
        helo_domain: hello,
        received_spf_header: null,
      },
      dkim: { result: "none", signatures: [], from_domain: "example.org", signed_by: [] },
      dmarc: {
        result: "none",
        policy: null,
        from_header: mailFrom,
        return_path: mailFrom,
        spf_alignment: false,
        dkim_alignment: false,
        authentication_results: "",
      },
      arc: { result: "none", chain: [] },
    },
    verdict: "accept",
    processingMs: 0,
  };
}

function rawOf(
  { fromHeader, toHeader, subject, messageIdHeader, receivedAt }: MessageRecord,
): Uint8Array<ArrayBuffer> {
  const date = new Date(receivedAt).toUTCString().replace("GMT", "+0000");
  const text = `From: ${fromHeader}\r\nTo: ${toHeader}\r\nSubject: ${subject}\r\nDate: ${date}\r\n` +
    `Message-ID: ${messageIdHeader}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n${BODY}`;
  return new TextEncoder().encode(text);
}

interface Place {
  url: URL;
  secrets: string[];
  /** webhook_bearer_token, for whom it is configured: a URL that is merely tried does not get it. */
  token: string | undefined;
}

/** Where to: the URL that was named, with its route's secret if it has one; else every route's, once each. */
function placesOf(config: WebhookConfig, wanted: string | null): Place[] {
  const token = config.webhook_bearer_token;
  const shared = [config.webhook_secret, config.webhook_secret_next].filter((secret) => secret !== undefined);
  const routes = routesOf(config).flatMap(({ url, secret }) => {
    const parsed = URL.parse(url);
    return parsed ? [{ url: parsed, secrets: secret ? [secret] : shared, token }] : [];
  });
  if (wanted === null) {
    const seen = new Set<string>();
    return routes.filter(({ url }) => !seen.has(url.href) && !!seen.add(url.href)).slice(0, RECEIVERS_MAX);
  }
  const url = URL.parse(wanted);
  if (!url) return [];
  return [routes.find((route) => route.url.href === url.href) ?? { url, secrets: shared, token: undefined }];
}

/**
 * Sends one to each receiver, all at once, and tells what came back. Resolves with an empty list when there is no
 * receiver; rejects when the sample can't be made.
 */
export function createSampleSender(deps: WebhookDeps): (wish: SampleWish) => Promise<SampleResult[]> {
  const egress = new Egress({ ...deps, allowedBy: "webhook_allow_private" });
  return async ({ url, isForged = false, timeoutMs = Infinity }) => {
    const { config, buildPayload, baseUrl, urlKey, clock } = deps;
    const forged = { secrets: [newWebhookSecret()] };
    const places = placesOf(config(), url).map((place) => isForged ? { ...place, ...forged } : place);
    const record = sampleRecord(clock.now());
    const bytes = rawOf(record);
    const payload = await buildPayload({
      record: { ...record, sizeBytes: bytes.length },
      raw: { head: bytes.subarray(0, 0), body: { kind: "memory", bytes } },
      recipients: record.recipients,
      inlineBytesMax: config().webhook_inline_max,
      baseUrl: baseUrl().replace(/\/+$/, ""),
      urlKey,
      nowMs: clock.now(),
    });
    const sample = { ...JSON.parse(new TextDecoder().decode(payload)), sample: true };
    const body = new TextEncoder().encode(JSON.stringify(sample));
    return await Promise.all(
      places.map((place) => sendOne(deps, egress, { ...place, timeoutMs }, record, body)),
    );
  };
}

async function sendOne(
  { config, clock }: WebhookDeps,
  egress: Egress,
  { url, secrets, token, timeoutMs }: Place & { timeoutMs: number },
  { requestId }: MessageRecord,
  body: Uint8Array,
): Promise<SampleResult> {
  const { webhook_timeout, webhook_allow_private } = config();
  const over = new AbortController();
  const waitMs = Math.min(webhook_timeout, timeoutMs);
  const timer = clock.timer(waitMs, () => over.abort());
  const began = clock.monotonic();
  const id = newId();
  const nowMs = clock.now();
  const tell = (rest: Omit<SampleResult, "url" | "id" | "tookMs">): SampleResult => {
    return { url: shown(url), id, tookMs: Math.round(clock.monotonic() - began), ...rest };
  };
  try {
    const answer = await egress.request({
      url,
      method: "POST",
      headers: requestHeaders({ id, requestId, secrets, token, nowMs, body }),
      body,
      allowPrivate: webhook_allow_private,
      keepConnection: false,
      headerBytesMax: HEADER_BYTES_MAX,
      bodyBytesMax: BODY_BYTES_MAX,
      wantsBody: () => true,
      signal: over.signal,
    });
    const { status, headers } = answer;
    const meant = outcomeOf({ status, retryAfter: headers["retry-after"] ?? null }, nowMs);
    const error = meant.kind === "delivered" ? null : meant.error;
    const outcome = meant.kind === "delivered" || meant.kind === "deferred" ? meant.kind : "failed";
    const clockDifferenceMs = differenceOf(headers.date, clock.now());
    return tell({ status, outcome, error, answer: lineOf(answer.body), clockDifferenceMs });
  } catch (error) {
    const late = over.signal.aborted ? `no answer within ${waitMs / 1000} s` : null;
    const why = late ?? (error instanceof EgressError ? error.message : "connection failed");
    const said = `Cannot deliver: ${why}`;
    return tell({ status: null, outcome: "deferred", error: said, answer: null, clockDifferenceMs: null });
  } finally {
    timer.cancel();
  }
}

/** Without what may be a secret of the receiver's. */
function shown(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}`;
}

/** Zero within the second that a Date stands for. */
function differenceOf(date: string | undefined, nowMs: number): number | null {
  const theirs = Date.parse(date ?? "");
  if (Number.isNaN(theirs)) return null;
  return nowMs >= theirs && nowMs < theirs + 1000 ? 0 : Math.round(theirs - nowMs);
}

function lineOf(body: Uint8Array | null): string | null {
  if (!body || body.length === 0) return null;
  return printable(new TextDecoder().decode(body.subarray(0, 4 * SHOWN_CHARS_MAX)).slice(0, SHOWN_CHARS_MAX));
}
