/**
 * Connections that wait for another mail to the same place: most of a mail's time would otherwise go into greeting
 * and handshake. Bounded in all: how long one waits (servers hang up on idlers, and count them against us), how
 * many wait, and by its session how many mails it carries. The key holds all that a connection was made by:
 * destination, port, TLS, source.
 */

import type { Clock, Timer } from "../../base/clock.ts";
import type { SmtpLimits } from "./limits.ts";
import type { Session } from "./session.ts";

interface Idle {
  key: string;
  session: Session;
  timer: Timer;
}

export class SessionPool {
  readonly #clock: Clock;
  readonly #limits: SmtpLimits;
  /** Oldest first. */
  readonly #idle = new Set<Idle>();
  readonly #ending = new Set<Promise<void>>();
  #closed = false;

  constructor(clock: Clock, limits: SmtpLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** The one used last, or null. It may have died this moment. */
  take(key: string): Session | null {
    for (const idle of [...this.#idle].reverse()) {
      if (idle.key !== key) continue;
      this.#forget(idle);
      if (idle.session.usable) return idle.session;
      this.#end(idle.session);
    }
    return null;
  }

  /** After a mail, whatever became of it: kept if it is good for another one, else ended. */
  give(key: string, session: Session): void {
    if (this.#closed || !session.usable) return this.#end(session);
    for (const oldest of this.#idle) {
      if (this.#idle.size < this.#limits.idleConnectionsMax) break;
      this.#drop(oldest);
    }
    const idle: Idle = {
      key,
      session,
      timer: this.#clock.timer(this.#limits.idleMs, () => this.#drop(idle)),
    };
    this.#idle.add(idle);
    // A server that hangs up, or says 421 first.
    session.wire.watch(() => this.#drop(idle));
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const idle of [...this.#idle]) this.#drop(idle);
    while (this.#ending.size > 0) await Promise.all(this.#ending);
  }

  get size(): number {
    return this.#idle.size;
  }

  #forget(idle: Idle): void {
    idle.timer.cancel();
    idle.session.wire.unwatch();
    this.#idle.delete(idle);
  }

  #drop(idle: Idle): void {
    this.#forget(idle);
    this.#end(idle.session);
  }

  #end(session: Session): void {
    const ending: Promise<void> = session.quit().finally(() => this.#ending.delete(ending));
    this.#ending.add(ending);
  }
}
