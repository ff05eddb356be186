/**
 * What the doors count and write down. A mail or a recipient that was turned away has a line of its own, so that
 * "why did it not come in?" has an answer; misbehaviour is told once for each kind and session. Strangers decide
 * how much goes wrong, so there is a quota for all sessions together; what it cost is told when there is room
 * again. Counters count everything.
 */

import type { Clock } from "../../base/clock.ts";
import { type RefusalReason, REFUSALS } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Metrics } from "../../base/metrics.ts";
import type { Bans } from "../../guard/bans.ts";
import type { TurnedAway } from "../../guard/connections.ts";
import { TokenBuckets } from "../../guard/token_bucket.ts";
import { COUNTS_EACH_TIME, isViolation } from "../../guard/violations.ts";
import { countRefusal } from "../../inbound/receive_metrics.ts";
import { type Dialogue, offenderOf } from "./dialogue.ts";
import type { Note } from "./replies.ts";
import type { SessionEvents } from "./session.ts";

const RECIPIENTS_SHOWN_MAX = 10;
/** Lines about misbehaving peers in a minute, all kinds and peers together. */
const LINES_PER_MINUTE = 120;

export interface ReporterParts {
  clock: Clock;
  log: Logger;
  metrics: Metrics;
  bans: Pick<Bans, "violation">;
}

export interface SessionReport extends SessionEvents {
  began(): void;
}

export class Reporter {
  #parts: ReporterParts;
  #lines: TokenBuckets;
  /** Lines that the quota has cost since the last one. */
  #untold = 0;

  constructor(parts: ReporterParts) {
    this.#parts = parts;
    this.#lines = new TokenBuckets(parts.clock, 1);
  }

  turnedAway(reason: TurnedAway | "banned", client: string | null): void {
    const { metrics, log } = this.#parts;
    metrics.connectionsRejected.inc({ reason });
    if (reason === "throttle") metrics.throttleRejections.inc();
    if (this.#mayWrite()) log.info("SMTP connection turned away", { client, reason });
  }

  /** `active`: how many sessions are open. */
  session(id: string, dialogue: Dialogue, active: () => number): SessionReport {
    const { metrics, clock, bans } = this.#parts;
    const base = this.#parts.log.with({ session: id, door: dialogue.kind });
    const { peer } = dialogue;
    // Whom the line is about: behind the filter the client that was named, as in the line of a mail that came in.
    const log = {
      info: (msg: string, fields: Record<string, unknown> = {}) =>
        base.info(msg, { client: dialogue.forwarded?.address ?? peer.address, ...fields }),
    };
    // Bounded: its members are the fixed names of notes and refusals.
    const seen = new Set<string>();
    const startedAt = clock.monotonic();
    const mayWrite = () => this.#mayWrite();
    const countViolation = violationCounter(dialogue, bans);
    const once = (key: string) => !seen.has(key) && !!seen.add(key) && mayWrite();
    return {
      began() {
        metrics.connectionsAccepted.inc();
        metrics.activeConnections.set(active());
      },
      note(note: Note, address?: string) {
        // A refused recipient is a mail that did not come in; the rest is about the conversation.
        if (note === "relay_denied" || note === "unknown_recipient") {
          metrics.emailsRejected.inc({ reason: note });
        }
        countViolation(note, address);
        if (note !== "unknown_recipient") metrics.errors.inc({ type: `smtp_${note}` });
        if (address !== undefined) {
          const mail_from = dialogue.mail?.from;
          if (mayWrite()) {
            log.info("Recipient refused", { reason: note, mail_from, recipient: address });
          }
        } else if (once(note)) log.info("SMTP peer refused", { reason: note });
      },
      mailRefused(requestId: string, reason: RefusalReason) {
        countRefusal(metrics, reason);
        if (!mayWrite()) return;
        log.info("Mail refused", {
          request_id: requestId,
          reason,
          code: REFUSALS[reason].code,
          mail_from: dialogue.mail?.from,
          recipients: [...dialogue.recipients.values()].slice(0, RECIPIENTS_SHOWN_MAX),
        });
      },
      failed(error: unknown) {
        metrics.errors.inc({ type: "smtp_internal" });
        if (once("failed")) base.error("SMTP session failed", { client: peer.address, error });
      },
      tlsStarted(version: string) {
        metrics.tlsConnections.inc({ version });
      },
      tlsFailed() {
        metrics.tlsHandshakeErrors.inc();
        if (once("tls")) log.info("TLS handshake failed");
      },
      timedOut() {
        metrics.timeouts.inc();
      },
      ended() {
        metrics.activeConnections.set(active());
        // The other doors stand behind our own MTA; nothing is learned by counting them.
        if (dialogue.kind === "smtp" && !dialogue.tls) metrics.plaintextConnections.inc();
        const { mails, errors, tls } = dialogue;
        const duration_ms = Math.round(clock.monotonic() - startedAt);
        const ended = { mails, errors, tls: tls?.version ?? null, duration_ms };
        base.debug("SMTP session ended", { client: peer.address, ...ended });
      },
    };
  }

  #mayWrite(): boolean {
    const quota = { perMinute: LINES_PER_MINUTE, burst: LINES_PER_MINUTE };
    if (!this.#lines.take("lines", quota).allowed) {
      this.#untold++;
      return false;
    }
    if (this.#untold > 0) this.#parts.log.warn("SMTP refusals were not logged", { lines: this.#untold });
    this.#untold = 0;
    return true;
  }
}

/**
 * What of a session counts towards a ban, and whom it is held against: each kind once, but for those that count each
 * time. Behind the filter one session may speak for several clients; each starts afresh.
 */
function violationCounter(dialogue: Dialogue, bans: Pick<Bans, "violation">) {
  // Bounded: its members are the fixed names of violations.
  const counted = new Set<string>();
  let offender: string | null = null;
  return (note: Note, recipient: string | undefined): void => {
    const address = offenderOf(dialogue);
    if (address === null || !isViolation(note)) return;
    if (address !== offender) counted.clear();
    offender = address;
    if (counted.has(note)) return;
    if (!COUNTS_EACH_TIME.has(note)) counted.add(note);
    const hello = dialogue.hello && `hello ${dialogue.hello.name}`;
    bans.violation({ address, door: "smtp", kind: note, detail: recipient ?? hello });
  };
}
