/**
 * One question to all name servers, one after the other until one knows, and what its answer means: records
 * (aliases followed, RFC 1034 3.6.2), a name or type that does not exist (RFC 2308), or a failure.
 */

import type { DnsErrorCode, DnsMessage, DnsRecord } from "./dns_message.ts";
import type { NameServer } from "./dns_servers.ts";
import { askServer, type Context, type Exchange, type Question } from "./dns_transport.ts";

/** What was found out; `ttl` in seconds says how long it holds. */
export type Finding =
  | { kind: "found"; records: DnsRecord[]; ttl: number; ad: boolean }
  | { kind: "failed"; code: DnsErrorCode; ttl: number };

/** Bounds on what a zone may ask of our cache. */
const TTL_SECONDS_MIN = 1;
const TTL_SECONDS_MAX = 3600;
const NEGATIVE_SECONDS_MAX = 300;
/** RFC 9520 3.2: failures are remembered for at least a second; no longer, so that service returns by itself. */
const FAILURE_SECONDS = 1;
const ALIASES_MAX = 8;
/** Rounds over all servers when nobody answers: UDP loses packets. */
const ROUNDS = 2;

const clamp = (value: number, min: number, max: number) => Math.min(Math.max(value, min), max);

function failure(code: DnsErrorCode): Finding {
  return { kind: "failed", code, ttl: FAILURE_SECONDS };
}

/** RFC 2308 5: the lesser of the SOA's TTL and its minimum field; a second when there is no SOA. */
function negative(code: DnsErrorCode, message: DnsMessage): Finding {
  const soa = message.authorities.find((record) => record.type === "SOA");
  const minimum = (soa?.data as { minimum?: number } | undefined)?.minimum ?? 0;
  return {
    kind: "failed",
    code,
    ttl: clamp(Math.min(soa?.ttl ?? 0, minimum), TTL_SECONDS_MIN, NEGATIVE_SECONDS_MAX),
  };
}

/** The records at the end of the chain of aliases that starts at the question. */
function collect(message: DnsMessage, question: Question): Finding {
  let name = question.name;
  let ttl = TTL_SECONDS_MAX;
  for (let hops = 0; hops <= ALIASES_MAX; hops++) {
    const here = message.answers.filter((record) => record.name.toLowerCase() === name);
    const records = here.filter((record) => record.type === question.type);
    if (records.length > 0) {
      ttl = clamp(Math.min(ttl, ...records.map((record) => record.ttl)), TTL_SECONDS_MIN, TTL_SECONDS_MAX);
      return { kind: "found", records, ttl, ad: message.authenticData };
    }
    const alias = here.find((record) => record.type === "CNAME");
    if (!alias) return negative("ENODATA", message);
    ttl = Math.min(ttl, alias.ttl);
    name = String(alias.data).toLowerCase();
  }
  // A loop or a chain that no honest zone has: nothing can be said.
  return failure("ESERVFAIL");
}

/** Null when another server may know better. */
function conclude(exchange: Exchange, question: Question): Finding | null {
  if (!exchange.ok) return null;
  if (exchange.message.rcode === "NXDOMAIN") return negative("ENOTFOUND", exchange.message);
  return exchange.message.rcode === "NOERROR" ? collect(exchange.message, question) : null;
}

function codeOf(exchange: Exchange): DnsErrorCode {
  if (exchange.ok) return exchange.message.rcode === "REFUSED" ? "EREFUSED" : "ESERVFAIL";
  if (exchange.failure === "malformed") return "ESERVFAIL";
  return exchange.failure === "timeout" ? "ETIMEOUT" : "EREFUSED";
}

/**
 * Servers that failed with an answer are not asked again; silent ones are, in a second round. The time is
 * shared out evenly among the tries that are left.
 */
export async function askAll(
  context: Context,
  servers: readonly NameServer[],
  question: Question,
  timeoutMs: number,
): Promise<Finding> {
  const { clock, signal } = context;
  const endsAt = clock.monotonic() + timeoutMs;
  let code: DnsErrorCode = "ETIMEOUT";
  let candidates = [...servers];
  for (let round = 1; round <= ROUNDS && candidates.length > 0; round++) {
    const silent: NameServer[] = [];
    for (const [i, server] of candidates.entries()) {
      const triesLeft = candidates.length - i + (ROUNDS - round) * (candidates.length - i + silent.length);
      const tryMs = (endsAt - clock.monotonic()) / Math.max(1, triesLeft);
      if (tryMs <= 0) return failure(code);
      const exchange = await askServer(context, server, question, tryMs);
      if (signal.aborted) return { kind: "failed", code: "ECANCELLED", ttl: 0 };
      const finding = conclude(exchange, question);
      if (finding) return finding;
      code = codeOf(exchange);
      if (!exchange.ok && exchange.failure === "timeout") silent.push(server);
    }
    candidates = silent;
  }
  return failure(code);
}
