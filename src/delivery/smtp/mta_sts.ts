/**
 * Which MTA-STS policy holds for a domain now (RFC 8461). Policies are kept in the store, because their worth lies
 * in outliving what an attacker in our path can suppress today.
 *
 * Failure rules (3.3, 5.1): a policy is used until it runs out, even when DNS or its web server say nothing, or
 * something broken, by then; a new id in DNS is reason to fetch, and so is a policy that is old, so that it is
 * renewed before it runs out. A fetch that fails is tried again after five minutes, and leaves what was there.
 * Where there is no policy and none can be had, mail goes as if there were none: that is the RFC's leap of faith.
 */

import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import { DnsError, type Resolver } from "../../base/resolver.ts";
import type { Store, StsPolicyRecord } from "../../store/types.ts";
import { Egress } from "../egress/mod.ts";
import { parseStsPolicy, stsAnswerProblem, stsIdOf } from "./sts_policy.ts";

export interface MtaStsDeps {
  resolver: Pick<Resolver, "nodeStyle" | "lookupHost">;
  store: Pick<Store, "getStsPolicy" | "putStsPolicy">;
  clock: Clock;
  log: Logger;
  allowPrivate: () => boolean;
  ca?: string[] | undefined;
  /** Of the policy server; 443 but in tests. */
  httpsPort?: number | undefined;
}

const FETCH_MS = 10_000;
/** 3.3 suggests five minutes between fetches of the same policy. */
const RETRY_MS = 300_000;
const RETRIES_MAX = 1_000;
/** A policy that is to be believed for less would be fetched for each mail. */
const AGE_MS_MIN = 300_000;
/** A policy older than this is fetched again, if it runs that long. */
const REFRESH_MS = 86_400_000;
/** 3.3 suggests 64 KB. */
const BODY_BYTES_MAX = 64 * 1024;
const HEADER_BYTES_MAX = 16 * 1024;

export class MtaSts {
  readonly #deps: MtaStsDeps;
  readonly #egress: Egress;
  /** Domains asked about now. Bounded by the carrier's attempts. */
  readonly #pending = new Map<string, Promise<StsPolicyRecord | null>>();
  /** Domain and id whose fetch failed, until when it is left alone (monotonic). */
  readonly #failed = new Map<string, number>();
  readonly #closing = new AbortController();

  constructor(deps: MtaStsDeps) {
    this.#deps = deps;
    const { resolver, clock, ca } = deps;
    const lookupHost = (name: string) => resolver.lookupHost(name);
    this.#egress = new Egress({ lookupHost, clock, ca, allowedBy: "outbound_allow_private" });
  }

  /** The policy in force, null for none. Rejects when the store does. */
  policyFor(domain: string): Promise<StsPolicyRecord | null> {
    const running = this.#pending.get(domain);
    if (running) return running;
    const started = this.#find(domain).finally(() => this.#pending.delete(domain));
    this.#pending.set(domain, started);
    return started;
  }

  /** Ends fetches under way. */
  close(): void {
    this.#closing.abort();
    this.#egress.close();
  }

  async #find(domain: string): Promise<StsPolicyRecord | null> {
    const { store, clock } = this.#deps;
    const [stored, id] = await Promise.all([store.getStsPolicy(domain), this.#idOf(domain)]);
    const now = clock.now();
    const kept = stored && stored.expiresAt > now ? stored : null;
    if (id === null) return kept;
    if (kept && kept.policyId === id && now < refreshAt(kept)) return kept;
    return await this.#fetch(domain, id) ?? kept;
  }

  async #idOf(domain: string): Promise<string | null> {
    try {
      const records = await this.#deps.resolver.nodeStyle(`_mta-sts.${domain}`, "TXT") as string[][];
      return stsIdOf(records.map((strings) => strings.join("")));
    } catch (error) {
      if (error instanceof DnsError) return null;
      throw error;
    }
  }

  async #fetch(domain: string, id: string): Promise<StsPolicyRecord | null> {
    const { clock, log, store, httpsPort } = this.#deps;
    const key = `${domain} ${id}`;
    if ((this.#failed.get(key) ?? 0) > clock.monotonic()) return null;
    const text = await fetchStsPolicy({
      egress: this.#egress,
      clock,
      allowPrivate: this.#deps.allowPrivate(),
      httpsPort,
      timeoutMs: FETCH_MS,
      signal: this.#closing.signal,
    }, domain);
    const policy = text.ok ? parseStsPolicy(text.value) : text.value;
    if (typeof policy === "string") {
      if (this.#failed.size >= RETRIES_MAX) this.#failed.clear();
      this.#failed.set(key, clock.monotonic() + RETRY_MS);
      log.warn("Cannot fetch an MTA-STS policy", { domain, reason: policy });
      return null;
    }
    this.#failed.delete(key);
    const fetchedAt = clock.now();
    const { mode, mx, maxAgeMs } = policy;
    const expiresAt = fetchedAt + Math.max(AGE_MS_MIN, maxAgeMs);
    const record = { domain, policyId: id, mode, mx, fetchedAt, expiresAt };
    await store.putStsPolicy(record);
    return record;
  }
}

export interface FetchDeps {
  egress: Egress;
  clock: Clock;
  allowPrivate: boolean;
  /** Of the policy server; 443 but in tests. */
  httpsPort?: number | undefined;
  timeoutMs: number;
  signal: AbortSignal;
}

/** The text of a domain's policy file; or why there is none, in words. */
export async function fetchStsPolicy(
  { egress, clock, allowPrivate, httpsPort, timeoutMs, signal }: FetchDeps,
  domain: string,
): Promise<{ ok: boolean; value: string }> {
  const url = URL.parse(`https://mta-sts.${domain}:${httpsPort ?? 443}/.well-known/mta-sts.txt`);
  // A domain that a URL reads as something else is nobody's.
  if (url?.hostname !== `mta-sts.${domain}`) return { ok: false, value: "its server has no proper name" };
  const over = new AbortController();
  const abort = () => over.abort();
  const timer = clock.timer(timeoutMs, abort);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  try {
    const answer = await egress.request({
      url,
      method: "GET",
      headers: { accept: "text/plain" },
      allowPrivate,
      keepConnection: false,
      headerBytesMax: HEADER_BYTES_MAX,
      bodyBytesMax: BODY_BYTES_MAX,
      wantsBody: (head) => stsAnswerProblem(head) === null,
      signal: over.signal,
    });
    const problem = stsAnswerProblem(answer) ?? answer.cut;
    if (problem !== null || !answer.body) return { ok: false, value: problem ?? "no body" };
    return { ok: true, value: new TextDecoder().decode(answer.body) };
  } catch (error) {
    return { ok: false, value: messageOf(error) };
  } finally {
    timer.cancel();
    signal.removeEventListener("abort", abort);
  }
}

/** When a policy is fetched again though its id is the same: after a day, or half its life if that is shorter. */
function refreshAt({ fetchedAt, expiresAt }: StsPolicyRecord): number {
  return fetchedAt + Math.min(REFRESH_MS, (expiresAt - fetchedAt) / 2);
}
