/**
 * The one door through which an HTTP request leaves this program: webhooks, MTA-STS policies, whatever comes next.
 * Who fetches says what is asked and how much of the answer is wanted; what holds for all of them is held here,
 * because the other end is a stranger and the URL often a stranger's too:
 *
 * - where it goes is looked up and checked (guard.ts), and the connection is made to the checked addresses;
 * - TLS is always verified against the URL's host name, 1.2 at least; no proxy of the environment is used;
 * - redirects are not followed, bodies are not decoded, everything received is bounded (exchange.ts);
 * - one signal ends it.
 */

import { endedBy } from "../ended_by.ts";
import { type ConnectionOptions, Connections } from "./connections.ts";
import { DestinationGuard, type GuardDeps } from "./guard.ts";
import { type EgressAnswer, EgressError, type EgressRequest } from "./types.ts";

export { type AnswerHead, type EgressAnswer, EgressError, type EgressRequest } from "./types.ts";

export type EgressDeps = GuardDeps & ConnectionOptions;

export class Egress {
  readonly #guard: DestinationGuard;
  readonly #connections: Connections;

  constructor(deps: EgressDeps) {
    this.#guard = new DestinationGuard(deps);
    this.#connections = new Connections(deps);
  }

  /** The answer. Rejects with EgressError when there is none. Once there is a status it is the answer. */
  async request(request: EgressRequest): Promise<EgressAnswer> {
    const { url, allowPrivate, signal } = request;
    const found = this.#guard.addressesOf(url, allowPrivate);
    const addresses = await endedBy(signal, found, () => new EgressError("no answer in time"));
    return await this.#connections.send(request, addresses);
  }

  /** Ends kept connections and what is under way on them; a request with one of its own is ended by its signal. */
  close(): void {
    this.#connections.close();
  }
}
