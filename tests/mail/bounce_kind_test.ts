/** Which refusals suppress an address: only those that are about the address. */

import { assertEquals } from "@std/assert";
import { type BounceStatus, isHardBounce } from "../../src/mail/bounce_kind.ts";
import { test } from "../support/test.ts";

const hard = (code: number | null, enhanced: string | null, stage?: BounceStatus["stage"]) =>
  isHardBounce({ code, enhanced, stage });

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
    assertEquals(hard(code, null, "rcpt"), true);
    for (const stage of ["connect", "mail", "data", "dns", undefined] as const) {
      assertEquals(hard(code, null, stage), false, `${code} ${stage}`);
    }
  }
  for (const code of [500, 521, 552, 554, 556]) assertEquals(hard(code, null, "rcpt"), false);
  assertEquals(hard(null, null, "rcpt"), false);
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
