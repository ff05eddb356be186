/**
 * The certificate that STARTTLS will show: readable and matching (as the config's own checks see it), in date,
 * with its chain, and for our name. Most senders look at none of this (RFC 7435); those that hold to MTA-STS
 * (RFC 8461) look at all of it, and deliver nothing when it is wrong.
 */

import { X509Certificate } from "node:crypto";
import type { Check, Say, Subject } from "./check.ts";
import { CERTIFICATE_KEYS, oneLine } from "./config.ts";
import type { Upkeep } from "./upkeep.ts";

const DAY_MS = 86_400_000;
const EXPIRY_DAYS_MIN = 14;
/** Certificates of a few days are renewed when half or a third of their time is left: this much left is late. */
const EXPIRY_SHARE_MIN = 1 / 4;
const PEM_BYTES_MAX = 2 ** 20;
/** A chain is three or four long. */
const CHAIN_MAX = 16;

/** GoMail looks for a new one by itself as well, though not at once. */
const renewal = ({ renew, reload }: Upkeep) => `${renew}, then ${reload}`;

/** Every certificate of the file, the server's own first. */
function readChain(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.slice(0, CHAIN_MAX).map((block) => new X509Certificate(block));
}

/** `*` stands for exactly one label (RFC 6125 6.4.3). */
function covers(pattern: string, name: string): boolean {
  const [wanted, given] = [pattern.toLowerCase(), name.toLowerCase()];
  return wanted === given || (wanted.startsWith("*.") && wanted.slice(1) === given.slice(given.indexOf(".")));
}

function checkName(leaf: X509Certificate, { hostname: name, upkeep }: Subject, say: Say): void {
  const names = (leaf.subjectAltName ?? "").split(", ").filter((entry) => entry.startsWith("DNS:"))
    .map((entry) => entry.slice(4));
  if (names.some((pattern) => covers(pattern, name))) return say.ok("name", `it is for ${name}`);
  const remedy = `get one for it (${upkeep.certify(name)}), or set mail_hostname to a name that it has`;
  say.problem(
    "name",
    `it is for ${names.join(", ") || "no name"}, and not for mail_hostname ${name}`,
    remedy,
  );
}

function checkDates(leaf: X509Certificate, nowMs: number, upkeep: Upkeep, say: Say): void {
  const [from, to] = [Date.parse(leaf.validFrom), Date.parse(leaf.validTo)];
  const days = Math.floor((to - nowMs) / DAY_MS);
  const isLate = to - nowMs < Math.min(EXPIRY_DAYS_MIN * DAY_MS, (to - from) * EXPIRY_SHARE_MIN);
  const until = new Date(to).toISOString().slice(0, 10);
  if (nowMs > to) say.problem("dates", `it expired on ${until}`, renewal(upkeep));
  else if (nowMs < from) {
    const remedy = `is the clock right? ${upkeep.clock}; if it is, use the certificate from before`;
    say.problem("dates", `it is not valid before ${new Date(from).toISOString()}`, remedy);
  } else if (isLate) say.problem("dates", `it expires in ${days} days, on ${until}`, renewal(upkeep));
  else say.ok("dates", `it is valid until ${until}`);
}

/** Each has to be signed by the next one in the file, and none that others verify by may be over. */
function checkChain(
  chain: readonly X509Certificate[],
  path: string,
  nowMs: number,
  { hostname: name, upkeep }: Subject,
  say: Say,
): void {
  const broken = chain.findIndex((certificate, i) => {
    const next = chain[i + 1];
    return next !== undefined && !(certificate.checkIssued(next) && certificate.verify(next.publicKey));
  });
  const remedy =
    "name the file with the whole chain, the server's own certificate first (Let's Encrypt: fullchain.pem)";
  const over = chain.findIndex(({ validTo }, i) => i > 0 && Date.parse(validTo) < nowMs);
  if (over >= 0) {
    const ended = new Date(chain[over]!.validTo).toISOString().slice(0, 10);
    say.problem(
      "chain",
      `in ${path} certificate ${over + 1}, of an issuer, expired on ${ended}`,
      renewal(upkeep),
    );
  }
  if (broken >= 0) {
    say.problem("chain", `in ${path} certificate ${broken + 1} is not signed by the one after it`, remedy);
  } else if (chain.length === 1 && chain[0]!.issuer === chain[0]!.subject) {
    say.notice(
      "chain",
      "it is self-signed: senders that check certificates will not deliver",
      `get one (${upkeep.certify(name)})`,
    );
  } else if (chain.length === 1) {
    say.notice("chain", `${path} holds no chain: strict senders can't verify it`, remedy);
  }
}

/** What the config's own checks found about the two files, with nothing to add to it. */
function knownProblems({ loaded }: Subject) {
  return loaded.ok ? [] : loaded.problems.filter(({ path }) => CERTIFICATE_KEYS.has(path));
}

export const certificateCheck: Check = {
  name: "certificate",
  async run(subject, say) {
    const { config, configFile, invocation, hostname: name, upkeep } = subject;
    if (!config.tls_enabled) return say.skipped("files", "tls_enabled is false: mail comes unencrypted");
    const known = knownProblems(subject);
    for (const problem of known) say.problem("files", oneLine(problem), problem.remedy);
    if (known.length > 0) return;
    const path = config.tls_cert_file;
    if (path === undefined) {
      const remedy = `get one (${
        upkeep.certify(name)
      }), then set tls_cert_file and tls_key_file in ${configFile}`;
      return say.notice("files", "none is configured: a self-signed one is used", remedy);
    }
    const chain = readChain(new TextDecoder().decode(invocation.io.readFile(path, PEM_BYTES_MAX)));
    const nowMs = invocation.io.now();
    checkDates(chain[0]!, nowMs, upkeep, say);
    checkName(chain[0]!, subject, say);
    checkChain(chain, path, nowMs, subject, say);
  },
};
