/** Certificates as an operator's ACME client would put them in place. */

import { generate } from "selfsigned";

export interface Pair {
  cert: string;
  key: string;
  /** SHA-256 over the certificate, `AA:BB:...`, as openssl and node:tls write it. */
  fingerprint: string;
}

export async function makeCertificate(name: string, kind: "ec" | "rsa" = "ec"): Promise<Pair> {
  const key = kind === "ec" ? { keyType: kind, curve: "P-256" as const } : { keyType: kind, keySize: 2048 };
  const made = await generate([{ name: "commonName", value: name }], {
    ...key,
    algorithm: "sha256",
    extensions: [{ name: "subjectAltName", altNames: [{ type: 2, value: name }] }],
  });
  return { cert: made.cert, key: made.private, fingerprint: await fingerprintOf(made.cert) };
}

async function fingerprintOf(pem: string): Promise<string> {
  const der = Uint8Array.fromBase64(pem.replace(/-----[A-Z ]+-----|\s/g, ""));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", der));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join(":").toUpperCase();
}
