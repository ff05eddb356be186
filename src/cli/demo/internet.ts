/**
 * The rest of the internet, as far as the demo needs it: six domains with their SPF, DKIM and DMARC records,
 * and the key that the one which signs signs with (RFC 6376). All names end in .example (RFC 2606), so that
 * nothing here can be anybody's.
 */

import { generateKeyPair } from "node:crypto";
import { promisify } from "node:util";
import { dkimSign } from "mailauth/lib/dkim/sign.js";
import type { ZoneName } from "./zone_server.ts";

/** Ours: what the demo's daemon takes mail for. */
export const OUR_DOMAIN = "inbox.example";
/** Signs with DKIM, allows 127.0.0.1 by SPF, and asks to reject what fails. */
export const SHOP = "shop.example";
/** Asks to reject what fails; does not allow 127.0.0.1. The forgery bears its name. */
export const BANK = "bank.example";
/** Allows 127.0.0.1 and signs nothing: where the forgery really comes from. */
export const BULK = "bulk.example";
/** Allows 127.0.0.1 by SPF, asks to reject, signs nothing. */
export const MUSEUM = "museum.example";
/** Where our mail goes: its server takes it on loopback, and knows not everybody. */
export const CUSTOMER = "customer.example";
/** Asks to quarantine what fails. */
export const CLUB = "club.example";

/** At the customer's: one who gets our mail, one whose mailbox is closed later, and one who never was. */
export const ANN = `ann@${CUSTOMER}`;
export const GONE = `gone@${CUSTOMER}`;
export const NOBODY = `nobody@${CUSTOMER}`;
/** What the customer's server says to RCPT. */
export const REFUSALS: Record<string, string> = { [NOBODY]: "550 5.1.1 No such user here" };

const SELECTOR = "demo2048";
/** Where the shop's public key stands. */
export const SHOP_KEY_NAME = `${SELECTOR}._domainkey.${SHOP}`;
const KEY_BITS = 2048;

export type Records = Record<string, ZoneName>;

export interface Internet {
  records: Records;
  /** The mail with the shop's signature on top. */
  signAsShop(mail: string): Promise<string>;
}

/** Makes a key and publishes it; everything else is written down here. */
export async function makeInternet(): Promise<Internet> {
  // Not the synchronous one: it would stop everything for as long as it takes to find two primes.
  const pair = await promisify(generateKeyPair)("rsa", { modulusLength: KEY_BITS });
  const publicKey = pair.publicKey.export({ type: "spki", format: "der" }) as Uint8Array;
  const privateKey = pair.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
  const key = {
    signingDomain: SHOP,
    selector: SELECTOR,
    privateKey,
    algorithm: "rsa-sha256",
    canonicalization: "relaxed/relaxed",
  };
  return {
    records: {
      [SHOP]: { TXT: ["v=spf1 ip4:127.0.0.1 -all"] },
      [SHOP_KEY_NAME]: { TXT: [`v=DKIM1; k=rsa; p=${publicKey.toBase64()}`] },
      [`_dmarc.${SHOP}`]: { TXT: ["v=DMARC1; p=reject"] },
      [BANK]: { TXT: ["v=spf1 ip4:192.0.2.25 -all"] },
      [`_dmarc.${BANK}`]: { TXT: ["v=DMARC1; p=reject"] },
      [BULK]: { TXT: ["v=spf1 ip4:127.0.0.1 -all"] },
      [MUSEUM]: { TXT: ["v=spf1 ip4:127.0.0.1 -all"] },
      [`_dmarc.${MUSEUM}`]: { TXT: ["v=DMARC1; p=reject"] },
      [CUSTOMER]: { MX: [{ exchange: `mx.${CUSTOMER}`, priority: 10 }] },
      [`mx.${CUSTOMER}`]: { A: ["127.0.0.1"] },
      [CLUB]: { TXT: ["v=spf1 ip4:192.0.2.80 -all"] },
      [`_dmarc.${CLUB}`]: { TXT: ["v=DMARC1; p=quarantine"] },
    },
    async signAsShop(mail) {
      // The list alone is what it reads; its types ask for the first entry's fields beside it.
      const { signatures, errors } = await dkimSign(mail, { ...key, signatureData: [key] });
      if (errors.length > 0) throw errors[0]!.err ?? new Error("Cannot sign the demo's mail");
      return signatures.trimEnd() + "\r\n" + mail;
    },
  };
}
