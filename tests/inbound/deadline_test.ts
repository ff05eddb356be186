/** One deadline for all of a mail's verification: what is not decided by then is temperror, and nothing waits on. */

import { assertEquals } from "@std/assert";
import { DnsError } from "../../src/base/resolver.ts";
import { startDeadline } from "../../src/inbound/auth_resolver.ts";
import { AUTHENTICATION_MS_MAX } from "../../src/inbound/auth_types.ts";
import { authenticate } from "../../src/inbound/authenticate.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { mailText, makeKey, signature } from "../support/signed_mail.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";
import { inputFor } from "../support/verify.ts";

const codeOf = (promise: Promise<unknown>) => promise.then(() => "ok", (e: unknown) => (e as DnsError).code);

/**
 * Lets this much fake time pass, in seconds with room for real work between them; then the promise has to
 * come to its end with no more of it, however slow the machine is.
 */
async function endsWithin(fakeMs: number, clock: FakeClock, promise: Promise<unknown>): Promise<void> {
  let done = false;
  promise.finally(() => done = true);
  for (let passedMs = 0; passedMs < fakeMs && !done; passedMs += 1000) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    await clock.advance(1000);
  }
  await until(() => done, `an end within ${fakeMs} ms`);
}

test("Ten signatures with selectors that never answer end after 20 seconds in temperror", async () => {
  const clock = new FakeClock();
  const key = makeKey("good.test");
  const mail = mailText({ From: "a@good.test" });
  const one = await signature(mail, key);
  const many = Array.from({ length: 10 }, (_, i) => one.replace("s=s1", `s=x${i}`)).join("");
  // Each lookup takes five seconds to fail, as with the default dns_timeout.
  const resolver = {
    nodeStyle: () => new Promise((_, reject) => clock.timer(5000, () => reject(new DnsError("ETIMEOUT")))),
  };
  const promise = authenticate(inputFor(many + mail, { clientAddress: null }), { resolver, clock });
  await endsWithin(AUTHENTICATION_MS_MAX, clock, promise);
  const { authentication: a } = await promise;
  assertEquals([a.dkim.result, a.dmarc.result, a.dkim.signatures.length], ["temperror", "temperror", 10]);
});

test("After the deadline lookups fail at once, and their failure is told", async () => {
  const clock = new FakeClock();
  let told = 0;
  const deadline = startDeadline({ nodeStyle: () => new Promise(() => {}) }, clock, 1000);
  const lookup = deadline.lookup({ onTemporary: () => told++ });
  const waiting = codeOf(lookup("a.test", "TXT"));
  await clock.advance(1000);
  assertEquals([await waiting, await codeOf(lookup("b.test", "TXT")), told], ["ETIMEOUT", "ETIMEOUT", 2]);
  deadline.end();
  assertEquals(clock.pending, 0);
});

test("A name that can't be one is a missing key, but stays itself for SPF; bugs pass through", async () => {
  const clock = new FakeClock();
  const bad = startDeadline({ nodeStyle: () => Promise.reject(new DnsError("EBADNAME")) }, clock, 1000);
  assertEquals(await codeOf(bad.lookup({ badNameIsMissing: true })("x", "TXT")), "ENOTFOUND");
  assertEquals(await codeOf(bad.lookup()("x", "TXT")), "EBADNAME");
  bad.end();
  const bug = startDeadline({ nodeStyle: () => Promise.reject(new TypeError("bug")) }, clock, 1000);
  assertEquals(await codeOf(bug.lookup()("x", "TXT")), undefined as unknown as string);
  bug.end();
});
