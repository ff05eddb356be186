/**
 * The mails and the DNS zone of the load runs: senders' domains with SPF, DKIM (RSA-2048) and DMARC records,
 * and a pool of mails of a given size, signed ahead of time (signing is several times dearer than verifying,
 * and would measure the generator).
 */

import { generateKeyPairSync } from "node:crypto";
import { dkimSign } from "mailauth/lib/dkim/sign.js";

export interface LoadMail {
  sender: string;
  bytes: Uint8Array;
}

const text = "The quick brown fox jumps over the lazy dog, and says so in plain ASCII text today.\r\n";

function plainMail(sender: string, index: number, sizeBytes: number): string {
  const head = `From: Sender <${sender}>\r\nTo: inbox@example.com\r\nSubject: Load mail ${index}\r\n` +
    `Date: ${
      new Date().toUTCString().replace("GMT", "+0000")
    }\r\nMessage-ID: <${index}.${crypto.randomUUID()}@${
      sender.split("@")[1]
    }>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n`;
  return head + text.repeat(Math.max(1, Math.round((sizeBytes - head.length) / text.length)));
}

/**
 * `count` different signed mails from `domains` domains, and the records that make them pass. All domains have the
 * same key: that costs a verifier as much as one each, and each would take as long to make as a hundred mails.
 */
export async function makeMails(count: number, domains: number, sizeBytes: number) {
  const zone: Record<string, { TXT: string[] }> = {};
  const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const spki = pair.publicKey.export({ type: "spki", format: "der" }).toString("base64");
  const privateKey = pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const names = Array.from({ length: domains }, (_, i) => `sender${i}.example`);
  for (const domain of names) {
    zone[`load._domainkey.${domain}`] = { TXT: [`v=DKIM1; k=rsa; p=${spki}`] };
    zone[domain] = { TXT: ["v=spf1 ip4:127.0.0.0/8 -all"] };
    zone[`_dmarc.${domain}`] = { TXT: ["v=DMARC1; p=reject"] };
  }
  const sign = async (plain: string, index: number): Promise<LoadMail> => {
    const domain = names[index % names.length]!;
    const key = { signingDomain: domain, selector: "load", privateKey };
    const signed = await dkimSign(plain, {
      ...key,
      canonicalization: "relaxed/relaxed",
      signatureData: [{ ...key, algorithm: "rsa-sha256" }],
    });
    return { sender: `news@${domain}`, bytes: new TextEncoder().encode(signed.signatures + plain) };
  };
  const mails: LoadMail[] = [];
  for (let i = 0; i < count; i++) {
    mails.push(await sign(plainMail(`news@${names[i % names.length]!}`, i, sizeBytes), i));
  }
  const big = (bytes: number) => sign(bigMail(`news@${names[0]!}`, bytes), 0);
  return { mails, zone, big };
}

/** A mail of `sizeBytes` with one base64 attachment. */
function bigMail(sender: string, sizeBytes: number): string {
  const boundary = "load-boundary";
  const head = `From: <${sender}>\r\nTo: inbox@example.com\r\nSubject: Big\r\nMIME-Version: 1.0\r\n` +
    `Content-Type: multipart/mixed; boundary=${boundary}\r\n\r\n--${boundary}\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n` +
    `--${boundary}\r\nContent-Type: application/octet-stream; name=big.bin\r\nContent-Disposition: attachment; filename=big.bin\r\n` +
    `Content-Transfer-Encoding: base64\r\n\r\n`;
  const line = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU2Nzg5YWJjZGVmZ2hpamtsbW5vcHFyc3R1\r\n";
  const tail = `--${boundary}--\r\n`;
  const lines = Math.floor((sizeBytes - head.length - tail.length) / line.length);
  return head + line.repeat(lines) + tail;
}
