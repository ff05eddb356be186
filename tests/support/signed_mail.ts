/** Mails as senders make them: keys, their DNS records, and messages that are really signed. */

import { Buffer } from "node:buffer";
import { createHash, generateKeyPairSync, sign } from "node:crypto";
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

/**
 * A signature with exactly these tags beside those that it has to have (RFC 6376 3.5), which libraries would not
 * all write; a tag that is null is left out. Canonicalization is simple/simple.
 */
export function signedWithTags(mail: string, key: SigningKey, more: Record<string, string | null>): string {
  const at = mail.indexOf("\r\n\r\n") + 2;
  const [header, body] = [mail.slice(0, at), mail.slice(at + 2)];
  const tags: Record<string, string | null> = {
    v: "1",
    a: "rsa-sha256",
    c: "simple/simple",
    d: key.domain,
    s: key.selector,
    h: "from",
    bh: createHash("sha256").update(body, "latin1").digest("base64"),
    ...more,
    b: "",
  };
  const named = Object.entries(tags).filter(([, value]) => value !== null);
  const field = `DKIM-Signature: ${named.map(([name, value]) => `${name}=${value}`).join("; ")}`;
  const names = (tags.h ?? "").toLowerCase().split(":");
  const fields = names.map((name) => new RegExp(`^${name}:.*\r\n`, "im").exec(header)?.[0] ?? "");
  const data = fields.join("") + field;
  return `${field}${
    sign("sha256", Buffer.from(data, "latin1"), key.privateKey).toString("base64")
  }\r\n${mail}`;
}
