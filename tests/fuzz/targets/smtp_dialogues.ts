/** Dialogues for the smtp target: the protocol's words, and whole sessions that most servers would accept. */

import fc from "fast-check";
import { soup } from "../arbitraries.ts";

export const WORDS = [
  "EHLO a\r\n",
  "LHLO a\r\n",
  "HELO a\r\n",
  "EHLO",
  "MAIL FROM:<a@b.example>\r\n",
  "MAIL FROM:<> SIZE=5\r\n",
  "MAIL FROM:<a@b.example> SMTPUTF8 BODY=8BITMIME\r\n",
  "MAIL FROM:<\xc3\xbc@b.example> SMTPUTF8\r\n",
  "MAIL FROM:<a@b.example> SIZE=999999\r\n",
  "RSET\r\n",
  "RCPT TO:<bob@example.com>\r\n",
  "RCPT TO:<BOB@Example.com>\r\n",
  "RCPT TO:<postmaster>\r\n",
  'RCPT TO:<"a b>\\""@example.com>\r\n',
  "RCPT TO:<@relay.example:c@example.com>\r\n",
  "RCPT TO:<nobody@example.com>\r\n",
  "RCPT TO:<x@elsewhere.example>\r\n",
  "DATA\r\n",
  "DATA\r\n",
  "STARTTLS\r\n",
  "QUIT\r\n",
  "XFORWARD ADDR=192.0.2.1 HELO=x\r\n",
  "XFORWARD NAME=[UNAVAILABLE]\r\n",
  "XFORWARD ADDR=IPV6:2001:db8::1 PROTO=ESMTP\r\n",
  "NOOP",
  "noop\r\n",
  "HELP\r\n",
  "VRFY x\r\n",
  "BDAT 5 LAST\r\n",
  "XCLIENT ADDR=192.0.2.1\r\n",
  "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
  "GET / HTTP/1.1\r\n",
  "\r\n",
  "\r",
  "\n",
  ".",
  ".\r\n",
  "\r\n.\r\n",
  "\n.\n",
  "\r\n.\n",
  "\n.\r\n",
  "\r.\r",
  "\0",
  "\xff",
  "\x16",
  "\t",
  " ",
  "<",
  '"',
  "\\",
  "x".repeat(130),
  "x".repeat(500),
  "text\r\n\r\n.\r\n",
  "Subject: x\r\n",
  "..\r\n",
];

const hello = fc.constantFrom(
  "EHLO a\r\n",
  "EHLO client.example\r\n",
  "LHLO a\r\nEHLO a\r\n",
  "HELO a\r\nLHLO a\r\n",
);
const forward = fc.constantFrom("", "", "XFORWARD ADDR=192.0.2.9 HELO=c PROTO=SMTP\r\n");
const from = fc.constantFrom(
  "MAIL FROM:<>\r\n",
  "mail from:<a@b.example>\r\n",
  "MAIL FROM:<a@b.example> SIZE=100 BODY=8BITMIME\r\n",
  "MAIL FROM:<a@b.example> SMTPUTF8\r\n",
);
const to = fc.constantFrom(
  "RCPT TO:<bob@example.com>\r\n",
  "RCPT TO:<bob@EXAMPLE.com>\r\n",
  "RCPT TO:<carol@example.com>\r\n",
  "RCPT TO:<nobody@example.com>\r\n",
  "RCPT TO:<postmaster>\r\n",
);
const LINES = [
  "Subject: x\r\n",
  "A: b\r\n",
  "\r\n",
  "..\r\n",
  ".x\r\n",
  "some text\r\n",
  "\xc3\xbc\r\n",
  "x".repeat(70),
];
const between = fc.constantFrom("", "", "", "NOOP\r\n", "RSET\r\n", "STARTTLS\r\nEHLO a\r\n");

const transaction = fc.tuple(
  between,
  forward,
  from,
  fc.array(to, { minLength: 1, maxLength: 4 }),
  soup(LINES, 20),
)
  .map(([between, forward, from, to, body]) =>
    `${between}${forward}${from}${to.join("")}DATA\r\n${body}${
      body === "" || body.endsWith("\r\n") ? "" : "\r\n"
    }.\r\n`
  );

/** Hello and a recipient, then any words. */
export const openedSoup: fc.Arbitrary<string> = fc.tuple(hello, from, to, soup(WORDS, 30)).map((parts) =>
  parts.join("")
);

/** A whole session. */
export const dialogue: fc.Arbitrary<string> = fc.tuple(
  hello,
  fc.array(transaction, { maxLength: 4 }),
  fc.boolean(),
)
  .map(([hello, mails, quits]) => hello + mails.join("") + (quits ? "QUIT\r\n" : ""));

/** RFC 5321 4.5.2, with strings. */
export function unstuffed(message: string): string {
  return message.split("\r\n").map((line) => line.startsWith(".") ? line.slice(1) : line).join("\r\n");
}
