/**
 * Why a connection failed, in our words: the one place for what network and TLS errors are called, in webhooks,
 * policy fetches and SMTP alike. Library messages can quote the other side's bytes, so they stay out.
 */

export interface Reason {
  /** It is about the certificate or the handshake. */
  isTls: boolean;
  words: string;
}

const NETWORK: ReadonlyMap<string, string> = new Map([
  ["ECONNREFUSED", "connection refused"],
  ["ECONNRESET", "connection lost"],
  ["EPIPE", "connection lost"],
  ["ETIMEDOUT", "connecting took too long"],
  ["EHOSTUNREACH", "host unreachable"],
  ["ENETUNREACH", "network unreachable"],
  ["EADDRNOTAVAIL", "no address of ours leads there"],
  ["EACCES", "not allowed to connect"],
  ["EMFILE", "no file descriptors left"],
  ["HPE_HEADER_OVERFLOW", "the answer's headers are too long"],
]);

/** The first that fits counts. */
const TLS: readonly [RegExp, string][] = [
  [/EXPIRED/, "the certificate has expired"],
  [/NOT_YET_VALID/, "the certificate is not valid yet"],
  [/ALTNAME/, "the certificate is for another name"],
  [/SELF_SIGNED|UNABLE_TO_(VERIFY|GET)|CERT_/, "the certificate is not trusted"],
  [/TLS|SSL|EPROTO/, "no common ground in the handshake"],
];

export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** Null for an error that is not known by its code. */
export function reasonOf(error: unknown): Reason | null {
  const code = codeOf(error);
  const known = NETWORK.get(code);
  if (known !== undefined) return { isTls: false, words: known };
  if (code.startsWith("HPE_")) return { isTls: false, words: "the answer is not HTTP" };
  const tls = TLS.find(([pattern]) => pattern.test(code));
  return tls ? { isTls: true, words: tls[1] } : null;
}

/** The reason as a clause that stands alone. */
export function reasonText(error: unknown): string {
  const reason = reasonOf(error);
  if (!reason) return "connection failed";
  return reason.isTls ? `TLS failed: ${reason.words}` : reason.words;
}
