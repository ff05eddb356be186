/**
 * The guard between a webhook URL and the network: which addresses may be connected to. Every address that the
 * name has must be public, since with a mixed answer it would be chance which one is taken; what comes back is
 * what is connected to (http_post.ts pins it), so a name that changes its mind after the check (DNS rebinding)
 * gains nothing. Operators whose receivers are inside say so with `webhook_allow_private`.
 */

import { isPublic, parseAddress } from "../../base/address.ts";
import type { Clock } from "../../base/clock.ts";

export interface GuardDeps {
  /** All addresses of a name; empty when it has none. Rejects when DNS does not answer. */
  lookupHost: (name: string) => Promise<string[]>;
  clock: Clock;
}

/** A destination that is not to be used, or not to be found; the message is safe to show. */
export class DestinationError extends Error {
  override readonly name = "DestinationError";
}

const CACHE_MS = 30_000;
const CACHE_NAMES_MAX = 1_000;
/** Nobody balances over more; the list becomes part of a connection pool's key. */
const ADDRESSES_MAX = 16;

export class DestinationGuard {
  readonly #deps: GuardDeps;
  readonly #cache = new Map<string, { untilMs: number; addresses: Promise<string[]> }>();

  constructor(deps: GuardDeps) {
    this.#deps = deps;
  }

  /** The addresses that may stand for the URL's host, checked, in a fixed order. Rejects with DestinationError. */
  async addressesOf(url: URL, allowPrivate: boolean): Promise<string[]> {
    if (url.protocol !== "http:" && url.protocol !== "https:") {
      throw new DestinationError("Cannot deliver: the URL is neither http nor https");
    }
    if (url.username !== "" || url.password !== "") {
      throw new DestinationError("Cannot deliver: the URL holds a user name or password");
    }
    const addresses = await this.#resolve(url.hostname);
    if (addresses.length === 0) throw new DestinationError("Cannot deliver: the host name has no address");
    if (!allowPrivate && !addresses.every((address) => isPublic(address))) {
      throw new DestinationError(
        "Cannot deliver: the host has a private address (see webhook_allow_private)",
      );
    }
    return addresses;
  }

  async #resolve(hostname: string): Promise<string[]> {
    // The URL parser has turned decimal, octal, hexadecimal and short forms into a dotted quad already.
    const literal = parseAddress(hostname.replace(/^\[|\]$/g, ""));
    if (literal) return [literal.text];
    const name = hostname.replace(/\.$/, "");
    // RFC 6761 6.3: always loopback, whatever DNS says.
    if (name === "localhost" || name.endsWith(".localhost")) return ["127.0.0.1", "::1"];
    return await this.#lookup(name);
  }

  async #lookup(name: string): Promise<string[]> {
    const nowMs = this.#deps.clock.monotonic();
    const known = this.#cache.get(name);
    if (known && known.untilMs > nowMs) return await known.addresses;
    if (this.#cache.size >= CACHE_NAMES_MAX) this.#cache.clear();
    const addresses = this.#ask(name);
    this.#cache.set(name, { untilMs: nowMs + CACHE_MS, addresses });
    // A failure or an empty answer is not remembered: the next attempt asks again.
    const forget = () => void this.#cache.delete(name);
    addresses.then((found) => found.length === 0 && forget(), forget);
    return await addresses;
  }

  async #ask(name: string): Promise<string[]> {
    let found: string[];
    try {
      found = await this.#deps.lookupHost(name);
    } catch (error) {
      throw new DestinationError("Cannot deliver: the host name can't be resolved now", { cause: error });
    }
    const addresses = found.map((text) => parseAddress(text)?.text ?? null);
    // What is no address could be anything: refuse it all.
    if (addresses.includes(null)) throw new DestinationError("Cannot deliver: DNS gave no proper address");
    return [...new Set(addresses as string[])].slice(0, ADDRESSES_MAX).sort();
  }
}
