/** Making, judging and comparing secrets. */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { newSecret, newWebhookSecret, sameDigest, sha256, tokenWeakness } from "../../src/base/secret.ts";
import { test } from "../support/test.ts";

test("tokenWeakness() refuses what can be guessed, and says why", () => {
  const cases: [string, RegExp][] = [
    ["", /fewer than 16/],
    ["abc123", /fewer than 16/],
    ["aaaaaaaaaaaaaaaaaaaaaaaa", /too few different/],
    ["abababababababababab", /too few different/],
    ["abcdefgabcdefgabcdefg", /repeats a pattern/],
    ["abcdefghijklmnopqrst", /sequence/],
    ["01234567890123456789", /repeats a pattern|sequence/],
    ["change-this-to-a-secure-token", /known example/],
    ["your-secure-token-here", /known example/],
    ["Your_Secure_Token_Here!", /known example/],
    ["password12345678", /known example/],
    ["my-super-secret-token", /known example/],
    ["gomail-admin-password", /known example/],
    ["qwertyuiopasdfgh", /known example/],
    ["temporary-token-1", /known example/],
  ];
  for (const [token, why] of cases) assertMatch(tokenWeakness(token) ?? "accepted", why, token);
});

test("tokenWeakness() accepts random tokens of every usual form", () => {
  for (let i = 0; i < 200; i++) {
    assertEquals(tokenWeakness(newSecret(12 + i % 40)), null);
    assertEquals(tokenWeakness(crypto.randomUUID()), null);
  }
  assertEquals(tokenWeakness("correct-horse-battery-staple"), null);
});

test("Digests are the same for the same text only, of any length", () => {
  const equal = (a: string, b: string) => sameDigest(sha256(a), sha256(b));
  assert(equal("", ""));
  assert(equal("grüße", "grüße"));
  for (const [a, b] of [["a", "b"], ["a", "aa"], ["", "a"], ["a\0", "a"]]) assert(!equal(a!, b!));
});

test("newSecret() and newWebhookSecret() are random and well formed", () => {
  assertMatch(newSecret(), /^[A-Za-z0-9_-]{43}$/);
  assertNotEquals(newSecret(), newSecret());
  assertMatch(newWebhookSecret(), /^whsec_[A-Za-z0-9+/]{43}=$/);
  assertNotEquals(newWebhookSecret(), newWebhookSecret());
});
