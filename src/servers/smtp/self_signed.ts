/**
 * Makes a certificate and its key. A file of its own, so that it can be loaded when it is needed: a library that is
 * CommonJS has its names only where it is imported by a statement, once everything is bundled.
 */

import { generate } from "selfsigned";

/** From its first to its last moment: above 825 days some clients refuse a certificate whoever signed it. */
const SELF_SIGNED_DAYS = 825;
const DAY_MS = 86_400_000;
/** X.520's bound for a common name; the full name is in the alternative name anyway. */
const COMMON_NAME_CHARS_MAX = 64;

/** An EC pair for one host name, PEM. */
export async function makePair(name: string, nowMs: number): Promise<{ certificate: string; key: string }> {
  // A day back, for peers whose clocks are slow.
  const notBeforeMs = nowMs - DAY_MS;
  const made = await generate([{ name: "commonName", value: name.slice(0, COMMON_NAME_CHARS_MAX) }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
    notBeforeDate: new Date(notBeforeMs),
    notAfterDate: new Date(notBeforeMs + SELF_SIGNED_DAYS * DAY_MS),
    extensions: [
      { name: "basicConstraints", cA: false, critical: true },
      { name: "keyUsage", digitalSignature: true, critical: true },
      { name: "extKeyUsage", serverAuth: true },
      { name: "subjectAltName", altNames: [{ type: 2, value: name }] },
    ],
  });
  return { certificate: made.cert + "\n", key: made.private };
}
