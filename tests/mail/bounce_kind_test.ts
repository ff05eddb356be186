/** Which refusals suppress an address: only those that are about the address. */

import { assertEquals } from "@std/assert";
import { type BounceStatus, isHardBounce } from "../../src/mail/bounce_kind.ts";
import { test } from "../support/test.ts";

const hard = (code: number | null, enhanced: string | null, stage?: BounceStatus["stage"], text = "") =>
  isHardBounce({ code, enhanced, stage, text });

/** `550 5.1.1 Text`, as an answer to RCPT. */
function said(line: string): boolean {
  const [, code, enhanced, text = ""] = /^(\d{3})(?: ([245]\.\d+\.\d+))? ?(.*)$/.exec(line)!;
  return hard(Number(code), enhanced ?? null, "rcpt", text);
}

test("isHardBounce() is true for what is said about the address", () => {
  for (const enhanced of ["5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"]) {
    assertEquals(hard(550, enhanced, "rcpt"), true, enhanced);
    assertEquals(hard(null, enhanced), true, enhanced);
    assertEquals(hard(550, enhanced), true, enhanced);
  }
  assertEquals(hard(556, "5.1.10", "dns"), true);
});

test("isHardBounce() is false for policy, full mailboxes, content, systems and our own address", () => {
  for (const enhanced of ["5.0.0", "5.1.7", "5.1.8", "5.2.2", "5.2.3", "5.3.4", "5.4.4", "5.6.7", "5.7.1"]) {
    assertEquals(hard(550, enhanced, "rcpt"), false, enhanced);
    assertEquals(hard(null, enhanced), false, enhanced);
  }
});

test("isHardBounce() takes 550, 551 and 553 without an enhanced code only as answers to RCPT", () => {
  for (const code of [550, 551, 553]) {
    assertEquals(hard(code, null, "rcpt", "No such user"), true);
    for (const stage of ["connect", "mail", "data", "dns", undefined] as const) {
      assertEquals(hard(code, null, stage, "No such user"), false, `${code} ${stage}`);
    }
  }
  for (const code of [500, 521, 552, 554, 556]) {
    assertEquals(hard(code, null, "rcpt", "No such user"), false);
  }
  assertEquals(hard(null, null, "rcpt", "No such user"), false);
  assertEquals(hard(550, null, "rcpt"), false, "in doubt it is none");
});

test("isHardBounce() never lets an enhanced code overrule the basic one", () => {
  assertEquals(hard(450, "5.1.1", "rcpt"), false);
  assertEquals(hard(250, "5.1.1", "rcpt"), false);
  assertEquals(hard(550, "4.1.1", "rcpt"), false);
});

test("isHardBounce() is false for what was said to MAIL or about the content, whatever the code", () => {
  assertEquals(hard(550, "5.1.1", "mail"), false);
  assertEquals(hard(550, "5.1.1", "data"), false);
  assertEquals(hard(550, "5.1.1", "connect"), false);
});

test("isHardBounce() knows how the big receivers say that an address is nobody's", () => {
  const lines = [
    "550 5.1.1 The email account that you tried to reach does not exist. Please try double-checking the recipient's email address for typos. For more information, go to https://support.google.com/mail/?p=NoSuchUser a-b.1 - gsmtp",
    "550 5.2.1 The email account that you tried to reach is inactive. Learn more at https://support.google.com/mail/?p=DisabledUser",
    "550 5.4.1 Recipient address rejected: Access denied. [DB5EUR03FT012.eop-EUR03.prod.protection.outlook.com]",
    "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). [HE1EUR01FT020.eop-EUR01.prod.protection.outlook.com]",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient policy@customer.example not found by SMTP address lookup",
    "550 5.1.351 Remote server returned unknown recipient or mailbox unavailable",
    "550 #5.1.0 Address rejected.",
    "550 5.1.0 Address rejected.",
    "550 Requested action not taken: mailbox unavailable",
    "550 5.1.1 <sender@customer.example>: Recipient address rejected: User unknown in virtual mailbox table",
    "550 5.1.1 <x@spamblock.example>... User unknown",
    "550 Unrouteable address",
    "550 No Such User Here",
    "550 sorry, no mailbox here by that name. (#5.1.1)",
    "550 unbekannter Empfänger",
    "553 invalid recipient x@y.example",
    "551 not our customer",
    "550 This account has been disabled or discontinued",
  ];
  for (const line of lines) assertEquals(said(line), true, line);
});

test("isHardBounce() never takes a word about us, our reputation or a limit for one about the address", () => {
  const lines = [
    "550 rejected because 192.0.2.1 is in a black list at zen.spamhaus.org",
    "550 JunkMail rejected - mail.ours.example [192.0.2.1]:25 is in an RBL: Client host blocked",
    "550 Sender verify failed",
    "550 relay not permitted",
    "550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)",
    "550 SPF check failed, unknown sender",
    "550 Requested action not taken: mailbox unavailable. Reject due to policy restrictions",
    "550 Mailbox unavailable: command rejected for policy reasons",
    "550 User unknown: no reverse DNS for your host",
    "550 cannot find your hostname",
    "550 Message rejected",
    "550 ",
    "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    "553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)",
    "550 5.1.0 Sender denied",
    "550 5.1.1 Blocked by our spam filter",
    "550 5.2.1 The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered.",
    "550 5.4.1 All relay hosts tried",
    "550 5.5.0 Protocol error",
    "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. part of their network is on our block list (S3150)",
    "550 5.7.606 Access denied, banned sending IP [192.0.2.1]",
    "554 5.7.9 Message not accepted for policy reasons",
    "550 5.7.26 Unauthenticated email from ours.example is not accepted due to domain's DMARC policy",
    "552 5.2.2 The email account that you tried to reach is over quota",
  ];
  for (const line of lines) assertEquals(said(line), false, line);
});

test("isHardBounce() takes a domain for what DNS says of it, whatever its name", () => {
  assertEquals(hard(550, "5.1.2", "dns", "Domain spam-policy.example does not exist"), true);
});
