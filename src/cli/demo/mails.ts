/**
 * The mails that the demo sends, as their senders' programs would have made them, and what has to become of
 * each. What is expected is written out in full and never computed from what came, so that the demo can fail.
 */

import { canServeTls } from "../../base/runtime.ts";
import { BANK, BULK, CLUB, type Internet, MUSEUM, OUR_DOMAIN, SHOP } from "./internet.ts";

/** What a receiver must be told about a mail. */
export interface WantedWebhook {
  spf: string;
  dkim: string;
  dmarc: string;
  policy: string;
  verdict: string;
  clientAddress: string;
  /** Of the connection, as `TLSv1.x`. */
  isTls: boolean;
  subject: string;
  /** Whole, after decoding; trailing white space does not count. */
  text: string;
  attachment?: { filename: string; type: string; content: Uint8Array };
  /** The bytes are not UTF-8, so they come as raw_base64. */
  isBinary?: boolean;
}

export interface Scene {
  title: string;
  /** Why it ends as it does, for a person who sees these words for the first time. */
  story: string;
  /** By SMTP, or by POST /mail/inbound with what the sender's client is said to be. */
  door: { kind: "smtp"; startTls: boolean } | { kind: "http"; clientAddress: string };
  from: string;
  to: string;
  messageId: string;
  bytes: Uint8Array;
  /** How the answer to the sender begins. */
  reply: string;
  /** Null: the mail is refused, and the receiver hears nothing of it. */
  webhook: WantedWebhook | null;
}

const TO = `app@${OUR_DOMAIN}`;
const LINE_CHARS = 76;
/** Of windows-1252, at the place of bytes that Latin-1 does not have. */
const EURO = "\x80", DASH = "\x96", QUOTE_OPEN = "\x84", QUOTE_CLOSE = "\x93";

/** Each character is one byte: text that is not UTF-8 can be written down so. */
function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function messageIdAt(domain: string): string {
  return `<${crypto.randomUUID()}@${domain}>`;
}

function mailText(headers: Record<string, string>, lines: string[]): string {
  const date = new Date().toUTCString().replace("GMT", "+0000");
  const all = { ...headers, To: `<${TO}>`, Date: date, "MIME-Version": "1.0" };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return `${head}\r\n${lines.map((line) => `${line}\r\n`).join("")}`;
}

async function signedMail({ signAsShop }: Internet): Promise<Scene> {
  const messageId = messageIdAt(SHOP);
  const plain = mailText({
    From: `The Shop <orders@${SHOP}>`,
    Subject: "Your order 4711 is on its way",
    "Message-ID": messageId,
    "Content-Type": "text/plain; charset=utf-8",
  }, ["Three boxes left our house this morning.", "..and the fourth one follows tomorrow."]);
  return {
    title: `A shop's mail, signed with DKIM${canServeTls() ? ", over STARTTLS" : ""}`,
    story: `${SHOP} signs its mail and asks everybody to refuse what it did not send. This one it did send.`,
    door: { kind: "smtp", startTls: canServeTls() },
    from: `bounces@${SHOP}`,
    to: TO,
    messageId,
    bytes: bytesOf(await signAsShop(plain)),
    reply: "250 ",
    webhook: {
      spf: "pass",
      dkim: "pass",
      dmarc: "pass",
      policy: "reject",
      verdict: "accept",
      clientAddress: "127.0.0.1",
      isTls: canServeTls(),
      subject: "Your order 4711 is on its way",
      text: "Three boxes left our house this morning.\n..and the fourth one follows tomorrow.",
    },
  };
}

function forgedMail(): Scene {
  const messageId = messageIdAt(BULK);
  const text = mailText({
    From: `Your Bank <service@${BANK}>`,
    Subject: "Confirm your password now",
    "Message-ID": messageId,
    "Content-Type": "text/plain; charset=utf-8",
  }, [`https://login.${BULK}/`]);
  return {
    title: `A forgery in the name of ${BANK}`,
    story: `SPF passes for ${BULK}, which sent it. But the author it shows is ${BANK}, and DMARC sees that.`,
    door: { kind: "smtp", startTls: false },
    from: `list@${BULK}`,
    to: TO,
    messageId,
    bytes: bytesOf(text),
    reply: "550 5.7.1 ",
    webhook: null,
  };
}

/** A table as programs of the nineties exported it: windows-1252, long enough for base64 over several lines. */
function tableOfEntries(): Uint8Array {
  const rows = Array.from(
    { length: 40 },
    (_, day) => `${day + 1};B\xf6hm;${(day * 7) % 23};12,50 ${EURO}\r\n`,
  );
  return bytesOf(`Tag;F\xfchrung;G\xe4ste;Eintritt\r\n${rows.join("")}`);
}

function oddMail(): Scene {
  const messageId = messageIdAt(MUSEUM);
  const table = tableOfEntries();
  // JIS X 0208 between escape sequences (RFC 1468): ko-n-ni-chi-ha.
  const japanese = btoa("\x1b$B$3$s$K$A$O\x1b(B");
  const encoded = table.toBase64().match(new RegExp(`.{1,${LINE_CHARS}}`, "g")) ?? [];
  const text = mailText({
    From: `=?windows-1252?Q?Museum_f=FCr_V=F6lkerkunde?= <post@${MUSEUM}>`,
    Subject: `=?ISO-2022-JP?B?${japanese}?=\r\n =?windows-1252?Q?_=96_Gr=FC=DFe?=`,
    "Message-ID": messageId,
    "Content-Type": 'multipart/mixed; boundary="=_edge"',
  }, [
    "--=_edge",
    "Content-Type: text/plain; charset=windows-1252",
    "Content-Transfer-Encoding: 8bit",
    "",
    `Sch\xf6ne Gr\xfc\xdfe ${DASH} der Eintritt kostet ${QUOTE_OPEN}nur${QUOTE_CLOSE} 12,50 ${EURO}.`,
    "--=_edge",
    "Content-Type: text/csv; charset=windows-1252",
    "Content-Disposition: attachment;",
    " filename*0*=UTF-8''G%C3%A4ste%20und%20;",
    " filename*1*=F%C3%BChrungen.csv",
    "Content-Transfer-Encoding: base64",
    "",
    ...encoded,
    "--=_edge--",
  ]);
  return {
    title: "A table, and charsets that most programs have forgotten",
    story:
      "ISO-2022-JP and windows-1252, a raw 8-bit body, a file name in two pieces. Unsigned: SPF carries DMARC.",
    door: { kind: "smtp", startTls: false },
    from: `post@${MUSEUM}`,
    to: TO,
    messageId,
    bytes: bytesOf(text),
    reply: "250 ",
    webhook: {
      spf: "pass",
      dkim: "none",
      dmarc: "pass",
      policy: "reject",
      verdict: "accept",
      clientAddress: "127.0.0.1",
      isTls: false,
      subject: "こんにちは – Grüße",
      text: "Schöne Grüße – der Eintritt kostet „nur“ 12,50 €.",
      attachment: { filename: "Gäste und Führungen.csv", type: "text/csv", content: table },
      isBinary: true,
    },
  };
}

function quarantinedMail(): Scene {
  const messageId = messageIdAt(CLUB);
  const text = mailText({
    From: `The Club <chair@${CLUB}>`,
    Subject: "Minutes of the meeting",
    "Message-ID": messageId,
    "Content-Type": "text/plain; charset=utf-8",
  }, ["Nobody came."]);
  return {
    title: "A doubtful mail, by POST /mail/inbound",
    story:
      `It is said to come from 203.0.113.9, which ${CLUB} does not know; the club asks to quarantine such mail.`,
    door: { kind: "http", clientAddress: "203.0.113.9" },
    from: `chair@${CLUB}`,
    to: TO,
    messageId,
    bytes: bytesOf(text),
    reply: "200 ",
    webhook: {
      spf: "fail",
      dkim: "none",
      dmarc: "fail",
      policy: "quarantine",
      verdict: "quarantine",
      clientAddress: "203.0.113.9",
      isTls: false,
      subject: "Minutes of the meeting",
      text: "Nobody came.",
    },
  };
}

/** In the order in which they are sent. */
export async function makeScenes(internet: Internet): Promise<Scene[]> {
  return [await signedMail(internet), forgedMail(), oddMail(), quarantinedMail()];
}
