/**
 * The resolver as the verification library sees it, one for each mail: under the mail's deadline, and
 * remembering whether the DNS failed in a way that trying again may mend (the library reports an ARC chain
 * whose key could not be fetched as a broken one).
 */

import type { Clock } from "../base/clock.ts";
import { DnsError, type Resolver } from "../base/resolver.ts";

export type Lookup = (name: string, rrtype: string) => Promise<string[]>;

export interface MailDeadline {
  /** Lookups that fail with ETIMEOUT at once when the deadline has passed. `onTemporary` hears of failures. */
  lookup(options?: { onTemporary?: () => void; badNameIsMissing?: boolean }): Lookup;
  end(): void;
}

export function startDeadline(
  resolver: Pick<Resolver, "nodeStyle">,
  clock: Clock,
  afterMs: number,
): MailDeadline {
  let timedOut = false;
  let expire: (error: DnsError) => void = () => {};
  const expired = new Promise<never>((_, reject) => expire = reject);
  // Whoever waits gets the rejection; when nobody does, nothing is missed.
  expired.catch(() => {});
  const timer = clock.timer(afterMs, () => {
    timedOut = true;
    expire(new DnsError("ETIMEOUT"));
  });
  return {
    lookup: (options = {}) => async (name, rrtype) => {
      try {
        if (timedOut) throw new DnsError("ETIMEOUT");
        // The library's types know lists only; the MX objects that SPF needs pass through as they are.
        return await Promise.race([resolver.nodeStyle(name, rrtype), expired]) as string[];
      } catch (error) {
        if (!(error instanceof DnsError)) throw error;
        if (error.temporary) options.onTemporary?.();
        // A selector that can't be a name has no key; the library would call that a temporary failure.
        throw error.code === "EBADNAME" && options.badNameIsMissing ? new DnsError("ENOTFOUND") : error;
      }
    },
    end: () => timer.cancel(),
  };
}
