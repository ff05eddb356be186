/**
 * Whether receivers will refuse us because a DNS blocklist (RFC 5782) has one of our addresses.
 *
 * Such a list answers with an address in 127.0.0.0/8 for what it has, and with NXDOMAIN for what it has not; and it
 * has a third answer that programs take for the first: 127.255.255.x, "you may not ask" (a public resolver, too many
 * questions, a mistyped zone). So a list is tested before it is believed: 127.0.0.2 has to be on it and 127.0.0.1
 * not (RFC 5782 5). Failure rules: an error answer, an answer outside 127.0.0.0/8 (a resolver that makes up answers,
 * or a list whose domain was sold) and a failed test mean that this list says nothing to us, and are skipped over,
 * with what to do; a name server that does not answer is not known. Only an answer in 127.0.0.0/8 of a list that
 * stood the test is a listing.
 */

import { type Address, parseAddress } from "../../base/address.ts";
import { DnsError, type Resolver, reverseName } from "../../base/resolver.ts";
import { type Blocklist, BLOCKLISTS } from "./blocklist_data.ts";
import { type Check, type Say, sideBySide, type Subject } from "./check.ts";
import { orUnknown, ownAddresses } from "./hostname.ts";

const ADDRESSES_MAX = 8;
/** RFC 5782 5; of a list with IPv6 alone they would be ::FFFF:7F00:2 and :1, and none of ours is. */
const [LISTED, NOT_LISTED] = ["127.0.0.2", "127.0.0.1"].map((text) => parseAddress(text)!) as [
  Address,
  Address,
];

/** Spamhaus's words; others use the same answers or none. */
const ERRORS: Readonly<Record<string, string>> = {
  "127.255.255.252": "the zone's name is mistyped",
  "127.255.255.254": "it does not answer public resolvers",
  "127.255.255.255": "it was asked too much from our resolver",
};

type Answer =
  | { kind: "listed"; codes: string[] }
  | { kind: "absent" }
  /** It does not serve us. */
  | { kind: "refused"; why: string }
  | { kind: "silent"; code: string };

/** `3.2.1.20.zen.example`: octets or nibbles backwards (RFC 5782 2.1, 2.4), as for PTR. */
function questionOf({ bytes }: Address, zone: string): string {
  return reverseName(bytes).replace(/(?:in-addr|ip6)\.arpa$/, zone);
}

function read(answers: readonly string[]): Answer {
  const error = answers.find((text) => text.startsWith("127.255.255."));
  if (error !== undefined) {
    return { kind: "refused", why: `${ERRORS[error] ?? "it answers with an error"} (${error})` };
  }
  const codes = answers.filter((text) => text.startsWith("127."));
  if (codes.length === 0) {
    return { kind: "refused", why: `it answers with ${answers[0]}, which is no answer of a blocklist` };
  }
  return { kind: "listed", codes: codes.slice(0, 8) };
}

async function ask(resolver: Resolver, address: Address, zone: string): Promise<Answer> {
  try {
    return read(await resolver.nodeStyle(questionOf(address, zone), "A") as string[]);
  } catch (error) {
    if (!(error instanceof DnsError)) throw error;
    // A name server that is sent away by the list's says REFUSED: as good as being told so.
    if (error.code === "EREFUSED") return { kind: "refused", why: "it refuses our resolver" };
    return error.temporary ? { kind: "silent", code: error.code } : { kind: "absent" };
  }
}

const RESOLVER = "run a resolver of your own (`apt install unbound`) and name it in dns_servers; " +
  "--no-blocklists asks none";

/** True when what the list says may be believed. */
function stoodTest(zone: string, listed: Answer, absent: Answer, say: Say): boolean {
  const answers = [listed, absent];
  const refused = answers.find(({ kind }) => kind === "refused");
  const silent = answers.find(({ kind }) => kind === "silent");
  if (refused?.kind === "refused") {
    say.skipped("list", `${zone} can't be asked from here: ${refused.why}; not known`, RESOLVER);
  } else if (silent?.kind === "silent") {
    say.unknown("list", `${zone} gives no answer (${silent.code})`, `try again later; ${RESOLVER}`);
  } else if (listed.kind === "absent") {
    say.skipped("list", `${zone} does not have its own test entry 127.0.0.2; not known`, RESOLVER);
  } else if (absent.kind === "listed") {
    say.skipped("list", `${zone} lists everything, 127.0.0.1 too; not known`, RESOLVER);
  } else return true;
  return false;
}

function tell({ zone, page, codes = {} }: Blocklist, address: string, answer: Answer, say: Say): boolean {
  if (answer.kind === "absent") return true;
  if (answer.kind === "listed") {
    const why = answer.codes.map((code) => codes[code] ?? code).join("; ");
    say.problem("listed", `${address} is on ${zone} (${why})`, `${page} says why, and how it ends`);
  } else if (answer.kind === "refused") {
    say.skipped("list", `${zone} can't be asked about ${address}: ${answer.why}; not known`, RESOLVER);
  } else {
    say.unknown("list", `${zone} gives no answer about ${address} (${answer.code})`, `try again later`);
  }
  return false;
}

/** True when it was asked about all addresses that it is about, and has none of them. */
async function askList(
  resolver: Resolver,
  list: Blocklist,
  addresses: readonly Address[],
  say: Say,
): Promise<boolean> {
  const { zone, hasIpv6 } = list;
  const meant = addresses.filter(({ family }) => hasIpv6 || family === 4);
  if (meant.length === 0) return false;
  const [listed, absent, ...answers] = await Promise.all(
    [LISTED, NOT_LISTED, ...meant].map((address) => ask(resolver, address, zone)),
  );
  if (!stoodTest(zone, listed!, absent!, say)) return false;
  // All are told, and not only up to the first that is bad.
  return meant.map(({ text }, i) => tell(list, text, answers[i]!, say)).every(Boolean);
}

async function askAll(subject: Subject, say: Say): Promise<void> {
  const found = await ownAddresses(subject);
  const addresses = found.slice(0, ADDRESSES_MAX).flatMap((text) => parseAddress(text) ?? []);
  if (addresses.length === 0) {
    const summary = "mail leaves through another host, or from addresses that can't be told from here";
    return say.skipped("asked", summary);
  }
  const clean = await sideBySide(
    BLOCKLISTS,
    say,
    (list, say) => askList(subject.resolver, list, addresses, say),
  );
  const zones = BLOCKLISTS.filter((_, i) => clean[i]).map(({ zone }) => zone);
  if (zones.length > 0) {
    say.ok("listed", `${addresses.map(({ text }) => text).join(", ")}: not on ${zones.join(", ")}`);
  }
}

export const blocklistsCheck: Check = {
  name: "blocklists",
  async run(subject, say) {
    if (!subject.wishes.blocklists) return say.skipped("asked", "--no-blocklists: none is asked");
    await orUnknown("asked", say, askAll(subject, say));
  },
};
