/**
 * SMTP as a carrier: a job is one recipient's copy of a stored, signed message. Through the smarthost, or straight
 * to the hosts of the recipient's domain; asked anew for each attempt, so a corrected configuration helps mail that
 * waits. The client is our own, not a library's: bounded replies, deadlines, the transcript, and codes that are
 * never mixed up are what this program is for.
 *
 * Failure rules: delivery.ts says which host is asked next, outcome.ts what an answer means. A throw is ours (the
 * store, a file that can't be read), and the engine defers.
 */

import { inRanges, parseAddress } from "../../base/address.ts";
import type { Clock } from "../../base/clock.ts";
import type { Logger } from "../../base/log.ts";
import { DnsError, type Resolver } from "../../base/resolver.ts";
import { parseListen } from "../../config/notation.ts";
import { isLoopbackHost } from "../../config/private_host.ts";
import type { Config } from "../../config/schema.ts";
import type { RouteConfig } from "../../events/jobs.ts";
import { parseMailbox } from "../../mail/address.ts";
import { verpAddress } from "../../mail/verp.ts";
import type { ClaimedJob, Effects, MessageRecord, Store } from "../../store/types.ts";
import type { Carrier, Ending, Outcome } from "../carrier.ts";
import { endedBy } from "../ended_by.ts";
import { JITTER } from "../schedule.ts";
import { type ContentFacts, scanContent } from "./content.ts";
import { Delivery, type Obstacle, type Plan } from "./delivery.ts";
import { type DirectDeps, directPlan, sourceFor } from "./direct.ts";
import { effectsOf } from "./effects.ts";
import { SMTP_LIMITS, type SmtpLimits } from "./limits.ts";
import { MtaSts } from "./mta_sts.ts";
import { interleaved } from "./mx.ts";
import { ownOutcome } from "./outcome.ts";
import { SessionPool } from "./pool.ts";
import type { Mail } from "./session.ts";
import { Transcript } from "./transcript.ts";
import { abortedBy, WireError } from "./wire.ts";

export type SmtpConfig =
  & Pick<
    Config,
    | "outbound_transport"
    | "outbound_smarthost"
    | "outbound_port"
    | "outbound_source_address"
    | "outbound_allow_private"
  >
  & RouteConfig;

export interface SmtpDeps {
  /** As it stands now. */
  config: () => SmtpConfig;
  /** Our name in EHLO, and the one we would find ourselves by in an MX list. */
  hostname: () => string;
  resolver: Pick<Resolver, "nodeStyle" | "lookupHost">;
  store: Pick<Store, "getStsPolicy" | "putStsPolicy">;
  /** Hex key of the envelope senders. */
  verpKey: string;
  /** A domain whose mail we take ourselves; none when absent. */
  isOurs?: ((domain: string) => boolean) | undefined;
  clock: Clock;
  log: Logger;
  random: () => number;
  /** Certificate authorities to trust instead of the system's, PEM. */
  ca?: string[] | undefined;
  limits?: Partial<SmtpLimits> | undefined;
  /** Of MTA-STS policy servers; 443 but in tests. */
  httpsPort?: number | undefined;
}

const MINUTE_MS = 60_000;
const RETRY_DELAYS_MS = [10_000, ...[1, 5, 15, 30, 60, 120].map((minutes) => minutes * MINUTE_MS)];
const ATTEMPTS_MAX = 200;
const SMARTHOST_CONCURRENCY = 20;
const DOMAIN_CONCURRENCY = 5;
const SMARTHOST = "smarthost ";
/** Messages whose facts are remembered: one with a thousand recipients is looked through once. */
const FACTS_MAX = 64;

const told = (transcript: Transcript) => ({ remote: null, transcript: transcript.toString() });

export function createSmtpCarrier(deps: SmtpDeps): Carrier {
  return new SmtpCarrier(deps);
}

class SmtpCarrier implements Carrier {
  readonly name = "smtp";
  readonly retryDelaysMs = RETRY_DELAYS_MS;
  readonly dueAheadMsMax = RETRY_DELAYS_MS.at(-1)! * (1 + JITTER);
  readonly attemptsMax = ATTEMPTS_MAX;
  readonly #deps: SmtpDeps;
  readonly #limits: SmtpLimits;
  readonly #pool: SessionPool;
  readonly #sts: MtaSts;
  readonly #facts = new Map<string, Promise<ContentFacts>>();

  constructor(deps: SmtpDeps) {
    this.#deps = deps;
    this.#limits = { ...SMTP_LIMITS, ...deps.limits };
    this.#pool = new SessionPool(deps.clock, this.#limits);
    this.#sts = new MtaSts({ ...deps, allowPrivate: () => deps.config().outbound_allow_private });
  }

  endpointOf(lane: string): string {
    const { outbound_transport, outbound_smarthost } = this.#deps.config();
    return outbound_transport === "postfix" ? `${SMARTHOST}${outbound_smarthost}` : lane;
  }

  concurrencyMax(endpoint: string): number {
    return endpoint.startsWith(SMARTHOST) ? SMARTHOST_CONCURRENCY : DOMAIN_CONCURRENCY;
  }

  effectsOf(job: ClaimedJob, ending: Ending, outcome: Outcome | null): Effects {
    return effectsOf(job, ending, outcome, this.#deps.config());
  }

  async close(): Promise<void> {
    this.#sts.close();
    await this.#pool.close();
  }

  async attempt(job: ClaimedJob, signal: AbortSignal): Promise<Outcome> {
    if (job.suppressed !== null) {
      return { kind: "dropped", code: null, error: `Recipient is suppressed (${job.suppressed})` };
    }
    const transcript = new Transcript();
    const mail = await this.#mailOf(job);
    if ("code" in mail) return ownOutcome(mail, told(transcript), "data");
    const { clock } = this.#deps;
    // One end for all of it, however slowly each step gets on.
    const over = new AbortController();
    const abort = () => over.abort();
    const timer = clock.timer(this.#limits.attemptMs, () => over.abort("the attempt took too long"));
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    try {
      const plan = await endedBy(over.signal, this.#plan(job, transcript), abortedBy);
      const delivery = new Delivery(
        { pool: this.#pool, clock, limits: this.#limits },
        plan,
        mail,
        transcript,
        over.signal,
      );
      return await delivery.run();
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      const text = `Cannot deliver: ${error.message}`;
      return ownOutcome({ code: null, enhanced: "4.4.7", text }, told(transcript), "connect");
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", abort);
    }
  }

  /** What goes out, or why it can't by anybody. */
  async #mailOf(job: ClaimedJob): Promise<Mail | Obstacle> {
    const recipient = job.recipients[0] ?? "";
    const to = parseMailbox(recipient, { smtpUtf8: true });
    if ("problem" in to) {
      return { code: 553, enhanced: "5.1.3", text: "Recipient is no address that SMTP can carry" };
    }
    const facts = await this.#factsOf(job);
    if (facts.problem !== null) {
      return { code: 554, enhanced: "5.6.0", text: `Message can't be sent: ${facts.problem}` };
    }
    const { message } = job;
    const index = message.recipients.indexOf(recipient);
    if (index < 0) throw new Error("Cannot send: the job's recipient is none of its message's");
    const sender = this.#senderOf(message, index);
    // deno-lint-ignore no-control-regex -- the point is to find what is not ASCII
    const smtpUtf8 = facts.utf8Header || !/^[\x00-\x7f]*$/.test(sender + to.address);
    return { sender, recipient: to.address, source: job.raw, facts, smtpUtf8 };
  }

  /** The null reverse-path of a bounce stays what it is: nothing shall come back about it (RFC 5321 4.5.5). */
  #senderOf({ id, mailFrom }: MessageRecord, index: number): string {
    if (mailFrom === "") return "";
    const from = parseMailbox(mailFrom, { smtpUtf8: true });
    if ("problem" in from) throw new Error("Cannot send: the message's sender is no address");
    return verpAddress(this.#deps.verpKey, { messageId: id, index }, from.domain);
  }

  #factsOf(job: ClaimedJob): Promise<ContentFacts> {
    const known = this.#facts.get(job.messageId);
    if (known) return known;
    for (const oldest of this.#facts.keys()) {
      if (this.#facts.size < FACTS_MAX) break;
      this.#facts.delete(oldest);
    }
    const facts = scanContent(job.raw);
    this.#facts.set(job.messageId, facts);
    // What could not be read now may be read the next time.
    facts.catch(() => this.#facts.delete(job.messageId));
    return facts;
  }

  #plan(job: ClaimedJob, transcript: Transcript): Promise<Plan> {
    const config = this.#deps.config();
    if (config.outbound_transport === "postfix") return Promise.resolve(this.#smarthostPlan(config));
    const { hostname, resolver, random, log, ca, isOurs } = this.#deps;
    const deps: DirectDeps = {
      resolver,
      random,
      log,
      ca,
      sts: this.#sts,
      hostname: hostname(),
      isOurs: isOurs ?? (() => false),
      config,
    };
    return directPlan(job.lane, deps, transcript);
  }

  #smarthostPlan(config: SmtpConfig): Plan {
    const { hostname, ca } = this.#deps;
    const listen = parseListen(config.outbound_smarthost);
    if (!listen || !("host" in listen)) throw new Error("Cannot send: the smarthost is not host:port");
    const { host, port } = listen;
    const source = config.outbound_source_address;
    return {
      poolKey: `${SMARTHOST}${host}:${port} ${source ?? ""}`,
      candidates: () =>
        Promise.resolve([{
          host,
          literal: parseAddress(host) !== null,
          addresses: () => this.#smarthostAddresses(host),
          // Between two programs of one host there is nobody to hide from.
          tlsMode: (address: string) =>
            inRanges(address, ["loopback"]) ? "off" as const : "opportunistic" as const,
        }]),
      port,
      // On loopback the smarthost knows us by our loopback address.
      localAddressFor: (address) => inRanges(address, ["loopback"]) ? undefined : sourceFor(source, address),
      helo: hostname(),
      ca,
    };
  }

  async #smarthostAddresses(host: string): Promise<string[] | Obstacle> {
    // RFC 6761 6.3: always loopback, whatever DNS says.
    if (parseAddress(host) === null && isLoopbackHost(host)) return ["127.0.0.1", "::1"];
    try {
      return interleaved(await this.#deps.resolver.lookupHost(host));
    } catch (error) {
      if (!(error instanceof DnsError)) throw error;
      // For good or not: it is our setting that is wrong, not the mail.
      return { code: null, enhanced: "4.4.3", text: `Cannot find the smarthost ${host}: ${error.code}` };
    }
  }
}
