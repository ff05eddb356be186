/**
 * DKIM (RFC 6376) and ARC (RFC 8617): both are signatures over header and body, so one pass over the message
 * serves both. Signatures beyond a cap are taken out of the header before verification (each costs a lookup
 * and a public-key operation, and they are verified one after the other).
 */

import { Buffer } from "node:buffer";
import { open } from "node:fs/promises";
import { Readable } from "node:stream";
import { arc } from "mailauth/lib/arc/index.js";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { normalizeDomain } from "../mail/address.ts";
import type { HeaderBlock, HeaderField } from "../mail/header.ts";
import type {
  ArcResult,
  ArcVerdict,
  DkimResult,
  DkimSignature,
  DkimVerdict,
  MessageBytes,
} from "../mail/types.ts";
import type { MailDeadline } from "./auth_resolver.ts";
import { cleanText } from "./auth_text.ts";
import type { AuthenticationInput } from "./auth_types.ts";

/** The topmost ones are the latest; more are ignored, and that is said. */
const SIGNATURES_MAX = 10;
const KEY_BITS_MIN = 1024;
const CHUNK_BYTES = 64 * 1024;
const NAME_CHARS_MAX = 253;

/** What DMARC takes of a signature. */
interface SigningDomain {
  id: string;
  domain: string;
  aligned: string | false;
  underSized: number;
}

export interface Signatures {
  dkim: DkimVerdict;
  arc: ArcVerdict;
  /** Addresses of the From fields, and how many fields there are. */
  headerFrom: string[];
  fromFields: number;
  passed: SigningDomain[];
  /** Ended in temperror: would they have passed? */
  undecided: SigningDomain[];
  /** The dmarc result that the first sealer recorded, when it was about this author. */
  firstDmarc: string | null;
  /** Each signature's result with what of it may be shown in a header, in the order of `dkim.signatures`. */
  shown: { result: DkimResult; tag: string | null }[];
}

type VerifyResult = Awaited<ReturnType<typeof dkimVerify>>;
type SignatureResult = VerifyResult["results"][number];

const DKIM_RESULTS = ["pass", "fail", "none", "neutral", "policy", "temperror", "permerror"] as const;
/** The mail's result is its best signature's: one that is valid speaks for the mail, whatever the others say. */
const BEST_FIRST: readonly DkimResult[] = [
  "pass",
  "temperror",
  "fail",
  "policy",
  "neutral",
  "permerror",
  "none",
];

export async function checkSignatures(
  input: AuthenticationInput,
  header: HeaderBlock,
  deadline: MailDeadline,
): Promise<Signatures> {
  const { dkim_enabled: enabled } = input.config;
  const all = header.all("dkim-signature");
  const ignored = all.slice(enabled ? SIGNATURES_MAX : 0);
  const signed = enabled && (all.length > 0 || header.count("arc-seal") > 0);
  let verified = await verifyFields(input, header, deadline, ignored, signed ? input.body : null);
  const unreadable = verified === null;
  if (verified === null) {
    // What is left is a header without signatures: the author is still to be found out.
    const fields = header.fields.filter((field) => /^(?:dkim-|arc-)/i.test(field.name));
    verified = await verifyFields(input, header, deadline, fields, null);
  }
  if (verified === null) throw new Error("Cannot verify message: the library can't read its header");
  const results = verified.results.filter((result) => result.status.result !== "none");
  if (header.count("from") > 1) results.forEach(failForSecondFrom);
  const dkim = dkimVerdict(results, verified.headerFrom);
  if (unreadable) Object.assign(dkim, { result: "permerror", reason: "a signature can't be evaluated" });
  else if (!enabled) dkim.reason = "DKIM is disabled";
  else if (ignored.length > 0) dkim.reason = `${ignored.length} more signatures ignored`;
  return {
    dkim,
    headerFrom: verified.headerFrom,
    fromFields: Math.max(verified.fromFields ?? 0, header.count("from")),
    passed: results.filter((r) => r.status.result === "pass").map(signingDomain),
    undecided: results.filter((r) => r.status.result === "temperror").map(signingDomain),
    shown: results.map((r) => ({ result: resultOf(r), tag: r.signature?.slice(0, 8) ?? null })),
    ...await checkArc(enabled, verified, deadline),
  };
}

/** Null when the library throws at what the fields say (`c=/` does it): no fault of the machine's. */
async function verifyFields(
  input: AuthenticationInput,
  header: HeaderBlock,
  deadline: MailDeadline,
  removed: readonly HeaderField[],
  body: MessageBytes | null,
): Promise<VerifyResult | null> {
  try {
    return await dkimVerify(source(header.without(removed), body), {
      resolver: deadline.lookup({ badNameIsMissing: true }),
      sender: input.mailFrom,
      minBitLength: KEY_BITS_MIN,
      strict: true,
    });
  } catch (error) {
    if (error instanceof BodyError) throw error;
    return null;
  }
}

/** The bytes to verify: in memory as one piece, or a stream, so that a large mail never sits in memory. */
function source(header: Uint8Array, body: MessageBytes | null): Buffer | Readable {
  if (body?.kind === "file") return Readable.from(readPieces(header, body), { objectMode: false });
  return Buffer.concat(body ? [header, body.bytes] : [header]);
}

/** The body can't be read: the machine's trouble and not the mail's, so trying again may help. */
class BodyError extends Error {
  override readonly name = "BodyError";
}

async function* readPieces(header: Uint8Array, body: MessageBytes & { kind: "file" }) {
  yield header;
  const unreadable = (cause: unknown): never => {
    throw new BodyError("Cannot verify message: its file can't be read", { cause });
  };
  const file = await open(body.path, "r").catch(unreadable);
  try {
    let at = body.offset;
    const end = body.offset + body.length;
    while (at < end) {
      const piece = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - at));
      const { bytesRead } = await file.read(piece, 0, piece.length, at).catch(unreadable);
      if (bytesRead === 0) throw new BodyError("Cannot verify message: its file is shorter than recorded");
      at += bytesRead;
      yield piece.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** A From put on top of a signed mail is the one that readers show, and it is not signed (RFC 6376 8.15). */
function failForSecondFrom({ status }: SignatureResult): void {
  if (status.result !== "pass") return;
  status.result = "permerror";
  status.comment = "more than one From field";
}

function signingDomain(result: SignatureResult): SigningDomain {
  return {
    id: result.id ?? "",
    domain: result.signingDomain ?? "",
    aligned: result.status.aligned ?? false,
    underSized: result.status.underSized ?? 0,
  };
}

function resultOf(result: SignatureResult): DkimResult {
  return DKIM_RESULTS.find((known) => known === result.status.result) ?? "permerror";
}

function dkimVerdict(results: SignatureResult[], headerFrom: string[]): DkimVerdict {
  const signatures = results.map((result): DkimSignature => {
    const reasons = reasonsOf(result);
    return {
      domain: cleanText(result.signingDomain ?? "", NAME_CHARS_MAX),
      selector: cleanText(result.selector ?? "", NAME_CHARS_MAX),
      algorithm: cleanText(result.algo ?? "", 32),
      valid: result.status.result === "pass",
      aligned: Boolean(result.status.aligned),
      ...(reasons.length > 0 ? { reason: reasons.join("; ") } : {}),
    };
  });
  const found = results.map(resultOf);
  return {
    result: BEST_FIRST.find((result) => found.includes(result)) ?? "none",
    signatures,
    from_domain: authorDomain(headerFrom),
    signed_by: [...new Set(signatures.filter((s) => s.valid).map((s) => s.domain))],
  };
}

/** As an A-label where it is a domain name at all. */
function authorDomain(headerFrom: string[]): string | null {
  const domain = (headerFrom[0]?.split("@").at(-1) ?? "").replace(/\.$/, "");
  return normalizeDomain(domain) ?? (cleanText(domain.toLowerCase(), NAME_CHARS_MAX) || null);
}

/** Why it is not valid, and what its validity does not cover (RFC 6376 8.2: an l= tag leaves the tail open). */
function reasonsOf(result: SignatureResult): string[] {
  const { status } = result;
  const reasons: string[] = [];
  if (status.comment) reasons.push(cleanText(status.comment, 200));
  if (status.policy?.["dkim-rules"] && !status.comment) {
    reasons.push(status.policy["dkim-rules"].replace("-", " "));
  }
  if (result.canonBodyLengthLimited) {
    reasons.push(
      status.underSized
        ? `l= leaves the last ${status.underSized} bytes of the body unsigned`
        : "l= limits the signed part of the body",
    );
  }
  return reasons;
}

async function checkArc(
  enabled: boolean,
  verified: VerifyResult,
  deadline: MailDeadline,
): Promise<Pick<Signatures, "arc" | "firstDmarc">> {
  if (!enabled || !verified.arc) {
    const reason = enabled ? {} : { reason: "DKIM is disabled" };
    return { arc: { result: "none", chain: [], ...reason }, firstDmarc: null };
  }
  const sets = verified.arc.chain || [];
  // Before arc() takes the newest set's results apart.
  const firstDmarc = recordedDmarc(sets[0], verified.headerFrom);
  let dnsFailed = false;
  const resolver = deadline.lookup({ badNameIsMissing: true, onTemporary: () => dnsFailed = true });
  const data = verified.arc as Parameters<typeof arc>[0];
  const { status } = await arc(data, { resolver, minBitLength: KEY_BITS_MIN, strict: true });
  let result: ArcResult = status.result === "pass" || status.result === "none" ? status.result : "fail";
  // The message signature is verified with the DKIM signatures, the seals here: a failure of the DNS in
  // either leaves the chain open.
  const amsOpen = verified.arc.lastEntry?.messageSignature?.status.result === "temperror";
  if (result === "fail" && (amsOpen || dnsFailed)) result = "temperror";
  const chain = sets.map((set) =>
    cleanText(String(tagOf(set["arc-seal"], "d") ?? ""), NAME_CHARS_MAX).toLowerCase()
  );
  const verdict: ArcVerdict = { result, chain };
  if (status.comment && result !== "pass") verdict.reason = cleanText(status.comment, 200);
  return { arc: verdict, firstDmarc };
}

type ParsedTags = { parsed?: Record<string, { value?: unknown } | undefined> };

const tagOf = (header: unknown, tag: string): unknown =>
  (header as ParsedTags | undefined)?.parsed?.[tag]?.value;

/** dmarc=... of the set's ARC-Authentication-Results, if it was said about the author this mail still has. */
function recordedDmarc(set: unknown, headerFrom: string[]): string | null {
  const results = (set as Record<string, ParsedTags> | undefined)?.["arc-authentication-results"]?.parsed;
  const dmarc = results?.["dmarc"] as { value?: unknown; header?: { from?: unknown } } | undefined;
  const said = dmarc?.value;
  const about = dmarc?.header?.from;
  if (typeof said !== "string" || typeof about !== "string") return null;
  return authorDomain([about]) === authorDomain(headerFrom) ? said.toLowerCase() : null;
}
