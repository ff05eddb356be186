/** Mails as senders make them: keys, their DNS records, and messages that are really signed. */

import { generateKeyPairSync } from "node:crypto";
import { sealMessage } from "mailauth/lib/arc/index.js";
import { dkimSign } from "mailauth/lib/dkim/sign.js";
import type { ZoneName } from "../../src/cli/demo/zone_server.ts";

export interface SigningKey {
  selector: string;
  domain: string;
  privateKey: string;
  /** What stands in DNS at `name`. */
  name: string;
  record: string;
}

export function makeKey(domain: string, selector = "s1", bits = 2048, flags = ""): SigningKey {
  const pair = generateKeyPairSync("rsa", { modulusLength: bits });
  const spki = pair.publicKey.export({ type: "spki", format: "der" }) as Uint8Array;
  const p = btoa(String.fromCharCode(...spki));
  return {
    selector,
    domain,
    privateKey: pair.privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    name: `${selector}._domainkey.${domain}`,
    record: `v=DKIM1; k=rsa;${flags} p=${p}`,
  };
}

export interface SignOptions {
  algorithm?: string;
  /** Number of body bytes that the l= tag covers. */
  maxBodyLength?: number;
  headerList?: string;
  expires?: Date;
  signTime?: Date;
}

/** The DKIM-Signature field, with its line end. */
export async function signature(mail: string, key: SigningKey, options: SignOptions = {}): Promise<string> {
  const data = { signingDomain: key.domain, selector: key.selector, privateKey: key.privateKey, ...options };
  // The list alone is what it reads; its types ask for the first entry's fields beside it.
  const { signatures, errors } = await dkimSign(mail, { ...data, signatureData: [data] });
  if (errors.length > 0) throw errors[0]!.err ?? new Error("Cannot sign test mail");
  return signatures.trimEnd() + "\r\n";
}

/** An ARC set (RFC 8617) for the mail as it is, to be put on top of it. */
export async function arcSet(
  mail: string,
  key: SigningKey,
  authResults: string,
  cv = "none",
): Promise<string> {
  const sealed = await sealMessage(mail, {
    signingDomain: key.domain,
    selector: key.selector,
    privateKey: key.privateKey,
    cv,
    authResults,
  });
  return new TextDecoder().decode(sealed);
}

/** The mail with its signature on top. */
export async function signed(mail: string, key: SigningKey, options: SignOptions = {}): Promise<string> {
  return await signature(mail, key, options) + mail;
}

export function mailText(headers: Record<string, string>, body = "Hello.\r\n"): string {
  return Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join("") + `\r\n${body}`;
}

/** A header block with its empty line, and the rest. */
export function split(mail: string | Uint8Array): { header: Uint8Array; body: Uint8Array } {
  const bytes = typeof mail === "string" ? new TextEncoder().encode(mail) : mail;
  for (let i = 0; i + 3 < bytes.length; i++) {
    if (bytes[i] === 13 && bytes[i + 1] === 10 && bytes[i + 2] === 13 && bytes[i + 3] === 10) {
      return { header: bytes.slice(0, i + 4), body: bytes.slice(i + 4) };
    }
  }
  return { header: bytes, body: new Uint8Array() };
}

/** A domain with SPF for one address, a key and a DMARC policy. */
export function senderZone(key: SigningKey, address: string, dmarc: string | null): Record<string, ZoneName> {
  return {
    [key.domain]: { TXT: [`v=spf1 ip4:${address} -all`] },
    [key.name]: { TXT: [key.record] },
    ...(dmarc === null ? {} : { [`_dmarc.${key.domain}`]: { TXT: [dmarc] } }),
  };
}
