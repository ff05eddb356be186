/**
 * The porter for clients that stand behind Postfix's before-queue filter. Postfix opens a connection to us for
 * each mail, once its client has named a recipient that is taken, and says by XFORWARD who the client is. So a
 * client's mails under way are what counts as its connections, and the port that it comes from tells its own
 * connections apart: ten mails over one of them take one token of the throttle. A client can choose its port, so
 * a port is good for so many mails only; without one, each mail takes a token.
 */

import type { Clock } from "../base/clock.ts";
import { RecentMap } from "../base/recent_map.ts";
import { type Admission, ConnectionGuard, type ConnectionLimits } from "./connections.ts";

const MAILS_PER_TOKEN_MAX = 100;
const PORTS_MAX = 20_000;

export class ForwardedClients {
  readonly #guard: ConnectionGuard;
  /** Mails that came from `address port` so far. */
  readonly #mails: RecentMap<string, number>;

  constructor(limits: () => ConnectionLimits, clock: Clock, portsMax = PORTS_MAX) {
    // The total is about sockets, and those of Postfix were counted when they came in.
    this.#guard = new ConnectionGuard(() => ({ ...limits(), max_total_connections: Infinity }), clock);
    this.#mails = new RecentMap(portsMax);
  }

  /** Asked at MAIL; `leave` when that mail is over. */
  admit(address: string, port: number | null): Admission {
    const connection = `${address} ${port}`;
    const before = port === null ? 0 : this.#mails.get(connection) ?? 0;
    const isKnown = before > 0 && before < MAILS_PER_TOKEN_MAX;
    const admission = this.#guard.admit(address, { isThrottled: !isKnown });
    const mails = isKnown ? before + 1 : 1;
    if (port !== null && admission.admitted && !admission.allowlisted) this.#mails.set(connection, mails);
    return admission;
  }
}
