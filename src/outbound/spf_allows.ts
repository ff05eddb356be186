/**
 * Whether a domain's SPF policy lets an address send (RFC 7208 4 to 5): a look at our own domains for `domain
 * check`. Verification of mail that comes in is the library's business; this one says "can't tell" where a
 * policy depends on the mail itself (macros, ptr), which the library would have to be given.
 */

import { inRanges, isRange, parseAddress } from "../base/address.ts";
import type { DnsFacts } from "./dns_facts.ts";

export type SpfResult = "pass" | "fail" | "softfail" | "neutral" | "none" | "permerror" | "unknown";

export interface SpfAnswer {
  result: SpfResult;
  /** For permerror and unknown: why. */
  reason: string;
}

/** RFC 7208 4.6.4. */
const LOOKUPS_MAX = 10;
const VOID_LOOKUPS_MAX = 2;
const MX_NAMES_MAX = 10;
/** A record is at most as long as a DNS message, and made of words. */
const TERMS_MAX = 500;

const QUALIFIERS: Record<string, SpfResult> = { "+": "pass", "-": "fail", "~": "softfail", "?": "neutral" };

/** Ends the evaluation. */
class Stop extends Error {
  constructor(readonly answer: SpfAnswer) {
    super(answer.reason);
  }
}

function permerror(reason: string): Stop {
  return new Stop({ result: "permerror", reason });
}

function unknown(reason: string): Stop {
  return new Stop({ result: "unknown", reason });
}

export function isSpf(text: string): boolean {
  return /^v=spf1(?: |$)/i.test(text);
}

class Evaluation {
  #lookups = 0;
  #voids = 0;

  constructor(private readonly dns: DnsFacts, private readonly ip: string, private readonly family: 4 | 6) {}

  /** Terms that ask DNS are counted over all records that are included. */
  #count(): void {
    if (++this.#lookups > LOOKUPS_MAX) {
      throw permerror(`more than ${LOOKUPS_MAX} terms that need DNS lookups`);
    }
  }

  #counted<T>(found: T[]): T[] {
    if (found.length === 0 && ++this.#voids > VOID_LOOKUPS_MAX) {
      throw permerror(`more than ${VOID_LOOKUPS_MAX} lookups that find nothing`);
    }
    return found;
  }

  async check(domain: string): Promise<SpfAnswer> {
    const records = (await this.dns.texts(domain)).filter(isSpf);
    if (records.length === 0) return { result: "none", reason: `${domain} has no SPF record` };
    if (records.length > 1) throw permerror(`${domain} has ${records.length} SPF records`);
    const terms = records[0]!.split(/ +/).filter(Boolean).slice(1);
    if (terms.length > TERMS_MAX) throw permerror(`the record of ${domain} is too long`);
    let redirect: string | null = null;
    for (const term of terms) {
      const modifier = /^([a-z][\w.-]*)=(.*)$/i.exec(term);
      if (modifier) {
        if (modifier[1]!.toLowerCase() === "redirect") redirect = modifier[2]!;
        continue;
      }
      const [, sign = "", name = "", rest = ""] = /^([+?~-]?)([a-z0-9]+)(.*)$/i.exec(term) ?? [];
      if (await this.#matches(name.toLowerCase(), rest, domain, term)) {
        return { result: QUALIFIERS[sign || "+"]!, reason: `${term} of ${domain}` };
      }
    }
    if (redirect === null) return { result: "neutral", reason: `no term of ${domain} matches` };
    this.#count();
    const target = this.#target(redirect, `redirect=${redirect}`);
    const answer = await this.check(target);
    if (answer.result === "none") throw permerror(`redirect=${target} leads to no SPF record`);
    return answer;
  }

  /** RFC 7208 7: what is in %{} depends on the mail. */
  #target(spec: string, term: string): string {
    if (spec.includes("%")) throw unknown(`${term} depends on the mail (a macro)`);
    if (spec === "") throw permerror(`${term} names no domain`);
    return spec.replace(/\.$/, "");
  }

  async #matches(name: string, rest: string, domain: string, term: string): Promise<boolean> {
    switch (name) {
      case "all":
        return true;
      case "ip4":
      case "ip6":
        return this.#isInRange(name, rest, term);
      case "a":
      case "mx":
        return await this.#isHost(name, rest, domain, term);
      case "include":
        return await this.#isIncluded(this.#target(rest.replace(/^:/, ""), term), term);
      case "exists":
        this.#count();
        return this.#counted(await this.dns.addresses(this.#target(rest.replace(/^:/, ""), term), 4)).length >
          0;
      case "ptr":
        throw unknown(`${term} depends on the address's name (and should not be used, RFC 7208 5.5)`);
      default:
        throw permerror(`${term} is no term of SPF`);
    }
  }

  #isInRange(name: "ip4" | "ip6", rest: string, term: string): boolean {
    const range = rest.slice(1);
    const isRight = rest.startsWith(":") && isRange(range) && range.includes(":") === (name === "ip6");
    if (!isRight) throw permerror(`${term} has no ${name === "ip4" ? "IPv4" : "IPv6"} address or network`);
    return inRanges(this.ip, [range]);
  }

  async #isHost(name: "a" | "mx", rest: string, domain: string, term: string): Promise<boolean> {
    const parts = /^(?::([^/]+))?(?:\/(\d{1,2}))?(?:\/\/(\d{1,3}))?$/.exec(rest);
    if (!parts) throw permerror(`${term} is malformed`);
    this.#count();
    const target = parts[1] === undefined ? domain : this.#target(parts[1], term);
    const length = this.family === 4 ? parts[2] ?? "32" : parts[3] ?? "128";
    const hosts = name === "a" ? [target] : this.#counted(await this.dns.mx(target)).map((mx) => mx.exchange);
    if (hosts.length > MX_NAMES_MAX) throw permerror(`${term} has more than ${MX_NAMES_MAX} names`);
    for (const host of hosts.filter(Boolean)) {
      const found = await this.dns.addresses(host, this.family);
      const addresses = name === "a" ? this.#counted(found) : found;
      if (addresses.some((address) => inRanges(this.ip, [`${address}/${length}`]))) return true;
    }
    return false;
  }

  /** RFC 7208 5.2: only a pass matches. */
  async #isIncluded(target: string, term: string): Promise<boolean> {
    this.#count();
    const { result } = await this.check(target);
    if (result === "none") throw permerror(`${term} leads to no SPF record`);
    return result === "pass";
  }
}

/** Rejects with NoAnswer where DNS leaves it open. */
export async function spfAllows(dns: DnsFacts, domain: string, ip: string): Promise<SpfAnswer> {
  const address = parseAddress(ip);
  if (!address) return { result: "unknown", reason: `${ip} is no address` };
  try {
    return await new Evaluation(dns, address.text, address.family).check(domain);
  } catch (error) {
    if (error instanceof Stop) return error.answer;
    throw error;
  }
}
