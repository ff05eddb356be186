/**
 * Webhooks as a carrier: a job becomes one signed POST. Where it goes is asked anew for each attempt, so a
 * corrected route or a new secret helps jobs that wait; a job whose route is gone goes to the address it was
 * made for. Each attempt has its own timestamp and signature under the job's one stable id.
 *
 * Failure rules: what the receiver or the network does becomes an Outcome (answer.ts). A payload that can't be
 * built is built once more without parsing, because a mail that kills its parser is owed all the same; if that
 * fails too (the message can't be read), it is thrown, and the engine defers without blaming the receiver. A final no
 * whose bounce can't be made (the store, a key) is not final yet: the receiver is asked again, under the same id.
 */

import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Config } from "../../config/schema.ts";
import { routesOf } from "../../events/jobs.ts";
import { outboundPayload } from "../../events/outbound.ts";
import type { PayloadInput } from "../../events/types.ts";
import type { ClaimedJob, NewMessage } from "../../store/types.ts";
import type { Carrier, Outcome } from "../carrier.ts";
import { Egress, EgressError } from "../egress/mod.ts";
import { endedBy } from "../ended_by.ts";
import { DUE_AHEAD_MS_MAX } from "../schedule.ts";
import { outcomeOf } from "./answer.ts";
import { requestHeaders } from "./request_headers.ts";

export type WebhookConfig = Pick<
  Config,
  | "routes"
  | "webhook_url"
  | "webhook_secret"
  | "webhook_secret_next"
  | "webhook_bearer_token"
  | "webhook_timeout"
  | "webhook_concurrency"
  | "webhook_inline_max"
  | "webhook_max_age"
  | "webhook_allow_private"
>;

export interface WebhookDeps {
  /** As it stands now; `webhook_secret` is the generated one where none is configured. */
  config: () => WebhookConfig;
  lookupHost: (name: string) => Promise<string[]>;
  /** Builds the body, off the main thread. May reject; the signal ends it early. */
  buildPayload: (input: PayloadInput, signal?: AbortSignal) => Promise<Uint8Array>;
  /** The mail that tells the sender of a final no, null where none is to. May reject. None is made when absent. */
  bounce?: ((job: ClaimedJob) => Promise<NewMessage | null>) | undefined;
  /** Base of the URLs in payloads, without a trailing slash. */
  baseUrl: () => string;
  /** Hex key of the signed URLs. */
  urlKey: string;
  clock: Clock;
  log: Logger;
  /** Certificate authorities to trust instead of the usual ones, PEM. */
  ca?: string[];
}

/** Nobody needs more of a receiver's answer; its body is not even looked at. */
const HEADER_BYTES_MAX = 32 * 1024;
const BODY_BYTES_MAX = 64 * 1024;

export interface WebhookTarget {
  url: string;
  /** Each signs. */
  secrets: string[];
}

/** Where a lane's webhooks go now, or null when no route has that match any more. */
export function targetOf(config: WebhookConfig, lane: string): WebhookTarget | null {
  const global = [config.webhook_secret, config.webhook_secret_next].filter((s) => s !== undefined);
  const route = routesOf(config).find((candidate) => candidate.match === lane);
  return route ? { url: route.url, secrets: route.secret ? [route.secret] : global } : null;
}

export function createWebhookCarrier(deps: WebhookDeps): Carrier {
  return new WebhookCarrier(deps);
}

type Refused = Extract<Outcome, { kind: "failed" }>;

const aborted = () => new Error("aborted");

class WebhookCarrier implements Carrier {
  readonly name = "webhook";
  readonly dueAheadMsMax = DUE_AHEAD_MS_MAX;
  readonly #deps: WebhookDeps;
  readonly #egress: Egress;

  constructor(deps: WebhookDeps) {
    this.#deps = deps;
    this.#egress = new Egress({ ...deps, allowedBy: "webhook_allow_private" });
  }

  endpointOf(lane: string, destination: string): string {
    return targetOf(this.#deps.config(), lane)?.url ?? (destination || `removed route ${lane}`);
  }

  concurrencyMax(): number {
    return this.#deps.config().webhook_concurrency;
  }

  async attempt(job: ClaimedJob, signal: AbortSignal): Promise<Outcome> {
    const config = this.#deps.config();
    const found = targetOf(config, job.lane);
    const secrets = found?.secrets ?? [config.webhook_secret, config.webhook_secret_next].filter((s) => !!s);
    const url = URL.parse(found?.url ?? job.destination);
    if (!url) return { kind: "deferred", code: null, error: "Cannot deliver: the URL is not valid" };
    if (secrets.length === 0) throw new Error("Cannot sign: there is no webhook secret");
    const body = await this.#build(job, signal);
    const outcome = await this.#deliver(job, url, secrets as string[], body, signal);
    return outcome.kind === "failed" ? await this.#refused(job, outcome, signal) : outcome;
  }

  async close(): Promise<void> {
    this.#egress.close();
  }

  async #build(job: ClaimedJob, signal: AbortSignal): Promise<Uint8Array> {
    const { config, baseUrl, urlKey, clock, log } = this.#deps;
    if (job.details !== null) {
      const payload = outboundPayload(job.event, job.message, job.details, job.createdAt);
      return new TextEncoder().encode(JSON.stringify(payload));
    }
    const input: PayloadInput = {
      record: job.message,
      raw: job.raw,
      recipients: job.recipients,
      inlineBytesMax: config().webhook_inline_max,
      baseUrl: baseUrl().replace(/\/+$/, ""),
      urlKey,
      nowMs: clock.now(),
    };
    try {
      return await endedBy(signal, this.#deps.buildPayload(input, signal), aborted);
    } catch (error) {
      if (signal.aborted) throw error;
      log.warn("Cannot parse the message for its webhook: sent without", {
        message_id: job.messageId,
        request_id: job.message.requestId,
        error: messageOf(error),
      });
      const unparsed = { ...input, skipParse: true };
      return await endedBy(signal, this.#deps.buildPayload(unparsed, signal), aborted);
    }
  }

  async #refused(job: ClaimedJob, outcome: Refused, signal: AbortSignal): Promise<Outcome> {
    const { bounce, log } = this.#deps;
    if (!bounce) return outcome;
    try {
      const made = await endedBy(signal, bounce(job), aborted);
      return made ? { ...outcome, bounce: made } : outcome;
    } catch (error) {
      const fields = { job_id: job.id, message_id: job.messageId, error: messageOf(error) };
      if (!signal.aborted) log.warn("Cannot make a bounce", fields);
      const text = `Receiver answered ${outcome.code}, and its bounce could not be made`;
      return { kind: "deferred", code: outcome.code, error: text, alive: true };
    }
  }

  /** One deadline over all of it: name, connection, request, answer. */
  async #deliver(
    job: ClaimedJob,
    url: URL,
    secrets: string[],
    body: Uint8Array,
    signal: AbortSignal,
  ): Promise<Outcome> {
    const { clock, config } = this.#deps;
    const over = new AbortController();
    const abort = () => over.abort();
    const timer = clock.timer(config().webhook_timeout, abort);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    try {
      const { status, headers } = await this.#egress.request({
        url,
        method: "POST",
        headers: this.#headers(job, secrets, body),
        body,
        allowPrivate: config().webhook_allow_private,
        keepConnection: true,
        headerBytesMax: HEADER_BYTES_MAX,
        bodyBytesMax: BODY_BYTES_MAX,
        signal: over.signal,
      });
      return outcomeOf({ status, retryAfter: headers["retry-after"] ?? null }, clock.now());
    } catch (error) {
      return { kind: "deferred", code: null, error: this.#errorText(error, over.signal) };
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", abort);
    }
  }

  #errorText(error: unknown, over: AbortSignal): string {
    if (over.aborted) {
      return `Cannot deliver: no answer within ${this.#deps.config().webhook_timeout / 1000} s`;
    }
    return `Cannot deliver: ${error instanceof EgressError ? error.message : "connection failed"}`;
  }

  #headers(job: ClaimedJob, secrets: string[], body: Uint8Array): Record<string, string> {
    const { clock, config } = this.#deps;
    const { id, message: { requestId } } = job;
    const token = config().webhook_bearer_token;
    return requestHeaders({ id, requestId, secrets, token, nowMs: clock.now(), body });
  }
}
