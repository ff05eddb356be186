/**
 * One attempt to deliver one mail: a kept connection if there is one, else host after host until one of them
 * answers for the mail.
 *
 * Failure rules (RFC 5321 5.1, and what common practice made of it):
 * - No connection, a greeting or EHLO that is refused, TLS that a policy demands and that is not to be had, a
 *   temporary no to MAIL, a connection that ends before the final dot: the next host.
 * - An answer to RCPT, DATA or the message, or a final no to MAIL, is the domain's answer: no other host is asked,
 *   because they are the same system, and asking around a greylisting only annoys it.
 * - After the final dot no other host is asked either: it might be a duplicate at once.
 * - When all hosts are through, the last answer that was temporary decides; without any, the last trouble.
 * - A kept connection that turns out to be dead before MAIL was answered was never tried: the next one is taken.
 */

import type { Clock } from "../../base/clock.ts";
import type { Outcome } from "../carrier.ts";
import { endedBy } from "../ended_by.ts";
import type { SmtpLimits } from "./limits.ts";
import { openSession, type TlsMode } from "./open.ts";
import { beforeMail, outcomeOf, ownOutcome, type Told } from "./outcome.ts";
import type { SessionPool } from "./pool.ts";
import { type Answer, type Mail, type Peer, remoteOf, type Session } from "./session.ts";
import type { Transcript } from "./transcript.ts";
import { abortedBy, WireError } from "./wire.ts";

/** A host, with its addresses looked up when its turn comes. */
export interface Candidate {
  host: string;
  /** The host is an address. */
  literal: boolean;
  addresses(): Promise<string[] | Obstacle>;
  tlsMode(address: string): TlsMode;
}

/** Why a host, or all of them, can't be tried. `code` 5xx when that is for good. */
export interface Obstacle {
  code: number | null;
  enhanced: string;
  text: string;
}

export interface Plan {
  /** Of connections that may be used again. */
  poolKey: string;
  /** Asked only when no kept connection took the mail. */
  candidates(): Promise<Candidate[] | Obstacle>;
  port: number;
  localAddressFor(address: string): string | undefined;
  helo: string;
  ca?: string[] | undefined;
  /** Sees each new connection before the mail goes. */
  observe?: ((session: Session) => void) | undefined;
}

export interface DeliveryDeps {
  pool: SessionPool;
  clock: Clock;
  limits: SmtpLimits;
}

/** Of all hosts that did not answer for the mail, what was the last said. */
interface Trouble {
  last: Outcome | null;
  lastTemporary: Outcome | null;
}

export class Delivery {
  readonly #deps: DeliveryDeps;
  readonly #plan: Plan;
  readonly #mail: Mail;
  readonly #transcript: Transcript;
  readonly #signal: AbortSignal;
  #remote: string | null = null;
  #targetsLeft: number;
  readonly #trouble: Trouble = { last: null, lastTemporary: null };

  constructor(deps: DeliveryDeps, plan: Plan, mail: Mail, transcript: Transcript, signal: AbortSignal) {
    this.#deps = deps;
    this.#plan = plan;
    this.#mail = mail;
    this.#transcript = transcript;
    this.#signal = signal;
    this.#targetsLeft = deps.limits.targetsMax;
  }

  async run(): Promise<Outcome> {
    return await this.#onKept() ?? await this.#onHosts();
  }

  get #told(): Told {
    return { remote: this.#remote, transcript: this.#transcript.toString() };
  }

  #outcome(answer: Answer): Outcome {
    return outcomeOf(answer, this.#told, this.#deps.limits.quietMs);
  }

  /** Null when there was none that still worked. */
  async #onKept(): Promise<Outcome | null> {
    const { pool } = this.#deps;
    for (let kept = pool.take(this.#plan.poolKey); kept; kept = pool.take(this.#plan.poolKey)) {
      this.#remote = remoteOf(kept.peer);
      this.#transcript.note(`connection to ${this.#remote} used again`);
      const answer = await this.#deliverOn(kept);
      if (!isStale(answer)) {
        const outcome = this.#outcome(answer);
        if (isFinalWord(answer)) return outcome;
        this.#note(outcome);
        return null;
      }
      if (this.#signal.aborted) return this.#outcome(answer);
      this.#transcript.note("it was closed meanwhile");
    }
    return null;
  }

  async #onHosts(): Promise<Outcome> {
    const { clock, limits } = this.#deps;
    const startMs = clock.monotonic();
    const candidates = await endedBy(this.#signal, this.#plan.candidates(), abortedBy);
    if (!Array.isArray(candidates)) return this.#trouble.last ?? ownOutcome(candidates, this.#told, "dns");
    const obstacles: Obstacle[] = [];
    for (const candidate of candidates) {
      const found = await endedBy(this.#signal, candidate.addresses(), abortedBy);
      if (!Array.isArray(found)) {
        this.#transcript.note(found.text);
        obstacles.push(found);
        continue;
      }
      for (const address of found.slice(0, limits.hostAddressesMax)) {
        const late = clock.monotonic() - startMs > limits.hostsMs;
        if (this.#signal.aborted || late || this.#targetsLeft-- <= 0) return this.#concluded(obstacles);
        const answer = await this.#onTarget(candidate, address);
        const outcome = this.#outcome(answer);
        if (isFinalWord(answer)) return outcome;
        this.#note(outcome);
      }
    }
    return this.#concluded(obstacles);
  }

  async #onTarget(candidate: Candidate, address: string): Promise<Answer> {
    const peer: Peer = { host: candidate.host, address, port: this.#plan.port };
    this.#remote = remoteOf(peer);
    const mode = candidate.tlsMode(address);
    const answer = await this.#onPeer(peer, candidate.literal, mode);
    if (answer.kind !== "broken" || answer.stage !== "tls" || this.#signal.aborted) return answer;
    const { error } = answer;
    if (mode === "verified") {
      return { ...answer, error: new WireError(error.trouble, `MTA-STS policy not met: ${error.message}`) };
    }
    // Words slipped in before the handshake are an attack or a broken server; neither gets it in the clear.
    if (error.trouble === "garbage") return answer;
    // RFC 7435 3: in the clear is better than not at all, where nobody promised more.
    this.#transcript.note("once more without TLS");
    return await this.#onPeer(peer, candidate.literal, "off");
  }

  async #onPeer(peer: Peer, literal: boolean, tls: TlsMode): Promise<Answer> {
    const { helo, ca, localAddressFor } = this.#plan;
    const { clock, limits } = this.#deps;
    const opened = await openSession({
      peer,
      helo,
      tls,
      literal,
      localAddress: localAddressFor(peer.address),
      ca,
      clock,
      limits,
      transcript: this.#transcript,
      signal: this.#signal,
    });
    if (opened.kind !== "open") return opened;
    this.#plan.observe?.(opened.session);
    return await this.#deliverOn(opened.session);
  }

  async #deliverOn(session: Session): Promise<Answer> {
    try {
      return await session.deliver(this.#mail, this.#transcript, this.#signal);
    } finally {
      this.#deps.pool.give(this.#plan.poolKey, session);
    }
  }

  #note(outcome: Outcome): void {
    this.#trouble.last = outcome;
    if (outcome.code !== null && outcome.code < 500) this.#trouble.lastTemporary = outcome;
  }

  /** No host answered for the mail. */
  #concluded(obstacles: readonly Obstacle[]): Outcome {
    const { last, lastTemporary } = this.#trouble;
    const decisive = lastTemporary ?? last;
    // The whole story, not what it was when that host was through.
    if (decisive) return this.#retold(decisive);
    const temporary = obstacles.find((obstacle) => obstacle.code === null);
    const obstacle = temporary ?? obstacles.at(-1);
    if (obstacle) return ownOutcome(obstacle, this.#told, "dns");
    const error = this.#signal.aborted
      ? abortedBy(this.#signal)
      : new WireError("connect", "no host was asked");
    return this.#outcome({ kind: "broken", stage: "connect", error, sent: false });
  }

  #retold(outcome: Outcome): Outcome {
    if (!outcome.report) return outcome;
    return { ...outcome, report: { ...outcome.report, transcript: this.#transcript.toString() } };
  }
}

/** On a kept connection: it ended before MAIL was answered, or RSET showed that it is of no use. */
function isStale(answer: Answer): boolean {
  if (answer.kind === "broken") return answer.stage === "rset" || answer.stage === "mail";
  return answer.kind === "refused" && answer.stage === "rset";
}

/** No other host is asked after this. */
function isFinalWord(answer: Answer): boolean {
  switch (answer.kind) {
    case "accepted":
    case "unable":
      return true;
    case "broken":
      return answer.sent || answer.error.trouble === "aborted";
    case "refused":
      if (beforeMail(answer.stage)) return false;
      return answer.stage !== "mail" || answer.reply.code >= 500;
  }
}
