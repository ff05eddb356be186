/**
 * The guard between a URL and the network: which addresses may be connected to. Every address that the name has
 * must be public, since with a mixed answer it would be chance which one is taken; what comes back is what is
 * connected to (connections.ts pins it), so a name that changes its mind after the check (DNS rebinding) gains
 * nothing. Operators whose receivers are inside say so with a setting.
 */

import { isPublic, parseAddress } from "../../base/address.ts";
import type { Clock } from "../../base/clock.ts";
import { isLoopbackHost } from "../../config/private_host.ts";
import { EgressError } from "./types.ts";

export interface GuardDeps {
  /** All addresses of a name; empty when it has none. Rejects when DNS does not answer. */
  lookupHost: (name: string) => Promise<string[]>;
  clock: Clock;
  /** The setting that allows private addresses, for who reads the refusal. */
  allowedBy: string;
}

interface Place {
  /** In a fixed order. */
  addresses: string[];
  isPublic: boolean;
}

const CACHE_MS = 30_000;
const CACHE_NAMES_MAX = 1_000;
/** Nobody balances over more; the list becomes part of a connection pool's key. */
const ADDRESSES_MAX = 16;

export class DestinationGuard {
  readonly #deps: GuardDeps;
  readonly #cache = new Map<string, { untilMs: number; place: Promise<Place> }>();

  constructor(deps: GuardDeps) {
    this.#deps = deps;
  }

  /** The addresses that may stand for the URL's host, checked, in a fixed order. Rejects with EgressError. */
  async addressesOf(url: URL, allowPrivate: boolean): Promise<string[]> {
    if (url.protocol !== "http:" && url.protocol !== "https:") {
      throw new EgressError("the URL is neither http nor https");
    }
    if (url.username !== "" || url.password !== "") {
      throw new EgressError("the URL holds a user name or password");
    }
    const place = await this.#placeOf(url.hostname);
    if (place.addresses.length === 0) throw new EgressError("the host name has no address");
    if (!allowPrivate && !place.isPublic) {
      throw new EgressError(`the host has a private address (see ${this.#deps.allowedBy})`);
    }
    return place.addresses;
  }

  async #placeOf(hostname: string): Promise<Place> {
    // The URL parser has turned decimal, octal, hexadecimal and short forms into a dotted quad already.
    const literal = parseAddress(hostname.replace(/^\[|\]$/g, ""));
    if (literal) return { addresses: [literal.text], isPublic: isPublic(literal) };
    // RFC 6761 6.3: always loopback, whatever DNS says.
    if (isLoopbackHost(hostname)) return { addresses: ["127.0.0.1", "::1"], isPublic: false };
    return await this.#lookup(hostname.replace(/\.$/, ""));
  }

  async #lookup(name: string): Promise<Place> {
    const nowMs = this.#deps.clock.monotonic();
    const known = this.#cache.get(name);
    if (known && known.untilMs > nowMs) return await known.place;
    if (this.#cache.size >= CACHE_NAMES_MAX) this.#cache.clear();
    const place = this.#ask(name);
    this.#cache.set(name, { untilMs: nowMs + CACHE_MS, place });
    // A failure or an empty answer is not remembered: the next attempt asks again.
    const forget = () => void this.#cache.delete(name);
    place.then((found) => found.addresses.length === 0 && forget(), forget);
    return await place;
  }

  async #ask(name: string): Promise<Place> {
    let found: string[];
    try {
      found = await this.#deps.lookupHost(name);
    } catch (error) {
      throw new EgressError("the host name can't be resolved now", { cause: error });
    }
    const addresses = new Set<string>();
    for (const text of found) {
      const address = parseAddress(text);
      // What is no address could be anything: refuse it all.
      if (!address) throw new EgressError("DNS gave no proper address");
      addresses.add(address.text);
    }
    // All of them are judged, those that are too many to use as well.
    const all = [...addresses].sort();
    return { addresses: all.slice(0, ADDRESSES_MAX), isPublic: all.every((address) => isPublic(address)) };
  }
}
