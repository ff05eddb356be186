/** Suppressions, DKIM keys and MTA-STS policies: small lists that decide what is sent, and how. */

import { assertEquals } from "@std/assert";
import type { DkimKeyRecord, StsPolicyRecord } from "../../src/store/types.ts";
import { newEvent, newOutbound, suppression, T0, testBoth } from "./support.ts";

testBoth("suppressions are found whatever the letter case and the form of the domain", async (store) => {
  assertEquals(await store.addSuppression(suppression("Bob@There.Test")), true);
  assertEquals(await store.addSuppression(suppression("bob@there.test", { reason: "manual" })), false);
  assertEquals(await store.addSuppression(suppression("zoë@MÜNCHEN.test")), true);
  const found = async (...addresses: string[]) =>
    (await store.findSuppressed(addresses)).map((s) => `${s.address} ${s.reason}`);
  assertEquals(await found("BOB@THERE.TEST", "bob@there.test", "x@there.test", "there.test"), [
    "bob@there.test bounce",
  ]);
  assertEquals(await found("ZOË@xn--mnchen-3ya.test"), ["zoë@xn--mnchen-3ya.test bounce"]);
  assertEquals(await found("bob@there.test\0", "bob\0@there.test", ""), []);
  assertEquals(await found(), []);
  assertEquals(await store.removeSuppression("bOB@there.test"), true);
  assertEquals(await store.removeSuppression("bob@there.test"), false);
  assertEquals(await found("bob@there.test"), []);
});

testBoth("suppressions are listed newest first, by reason, or one alone", async (store) => {
  const reasons = ["bounce", "complaint", "manual"] as const;
  for (let i = 0; i < 7; i++) {
    const reason = reasons[i % 3] ?? "manual";
    await store.addSuppression(
      suppression(`r${i}@there.test`, { reason, createdAt: T0 + i, messageId: "m", detail: "d" }),
    );
  }
  const page = await store.listSuppressions({}, { limit: 3 });
  const rest = await store.listSuppressions({}, { limit: 9, cursor: page.nextCursor ?? undefined });
  assertEquals(
    [...page.items, ...rest.items].map((s) => s.address),
    [6, 5, 4, 3, 2, 1, 0].map((i) => `r${i}@there.test`),
  );
  assertEquals(rest.nextCursor, null);
  const complaints = await store.listSuppressions({ reason: "complaint" }, { limit: 9 });
  assertEquals(
    complaints.items,
    [4, 1].map((i) =>
      suppression(`r${i}@there.test`, { reason: "complaint", createdAt: T0 + i, messageId: "m", detail: "d" })
    ),
  );
  const one = async (address: string, reason?: "bounce" | "manual") =>
    (await store.listSuppressions({ address, reason }, { limit: 9 })).items.length;
  assertEquals([await one("R3@THERE.test"), await one("r3@there.test", "bounce")], [1, 1]);
  assertEquals([await one("r3@there.test", "manual"), await one("nobody@there.test")], [0, 0]);
});

testBoth("claim() tells that a recipient is suppressed", async (store) => {
  await store.addSuppression(suppression("Bob@There.test", { reason: "complaint" }));
  await store.addSuppression(suppression("zoë@münchen.test", { reason: "manual" }));
  const recipients = ["boB@there.test", "eve@there.test", "Zoë@xn--mnchen-3ya.test"];
  const message = newOutbound(recipients);
  message.effects = { events: [newEvent(message.id)], suppressions: [] };
  await store.submit(message, null);
  const told = async (lane: string) =>
    (await store.claim("smtp", lane, T0, 9)).map((job) => [job.recipients[0], job.suppressed]);
  assertEquals(await told("there.test"), [[recipients[0], "complaint"], [recipients[1], null]]);
  assertEquals(await told("xn--mnchen-3ya.test"), [[recipients[2], "manual"]]);
  assertEquals((await store.claim("webhook", "*", T0, 9)).map((job) => job.suppressed), [null]);
});

testBoth("an entry that is there stays when an effect would add it again", async (store) => {
  await store.addSuppression(suppression("a@there.test", { reason: "manual", detail: "by hand" }));
  await store.addEffects({
    events: [],
    suppressions: [suppression("A@there.test"), suppression("b@there.test"), suppression("B@there.test")],
  });
  const list = (await store.listSuppressions({}, { limit: 9 })).items;
  assertEquals(list.map((s) => [s.address, s.reason, s.detail]), [
    ["b@there.test", "bounce", null],
    ["a@there.test", "manual", "by hand"],
  ]);
});

testBoth("DKIM keys are added all or none, and only their state changes", async (store) => {
  const key = (selector: string, overrides: Partial<DkimKeyRecord> = {}): DkimKeyRecord => ({
    domain: "here.test",
    selector,
    algorithm: "rsa",
    state: "pending",
    publicKey: "MIIB",
    createdAt: T0,
    activatedAt: null,
    stoppedAt: null,
    ...overrides,
  });
  const [rsa, ed] = [key("r1"), key("e1", { algorithm: "ed25519", publicKey: "11qY" })];
  assertEquals(await store.addDkimKeys([rsa, ed]), true);
  assertEquals(await store.addDkimKeys([key("new"), key("r1")]), false);
  assertEquals(await store.addDkimKeys([key("twice"), key("twice")]), false);
  assertEquals(await store.addDkimKeys([key("r1", { domain: "else.test" })]), true);
  assertEquals(await store.listDkimKeys("here.test"), [ed, rsa]);
  assertEquals((await store.listDkimKeys()).map((k) => k.domain), ["else.test", "here.test", "here.test"]);
  assertEquals(await store.listDkimKeys("nobody.test"), []);
  const active = { ...rsa, state: "active" as const, activatedAt: T0 + 1, publicKey: "other", createdAt: 1 };
  const retired = { ...ed, state: "retired" as const, activatedAt: T0, stoppedAt: T0 + 2 };
  await store.updateDkimKeys([active, retired, key("unknown")]);
  assertEquals(await store.listDkimKeys("here.test"), [
    retired,
    { ...rsa, state: "active", activatedAt: T0 + 1 },
  ]);
});

testBoth(
  "an MTA-STS policy is replaced by its successor, and gone some time after its end",
  async (store) => {
    const policy = (domain: string, overrides: Partial<StsPolicyRecord> = {}): StsPolicyRecord => ({
      domain,
      policyId: "20260101",
      mode: "enforce",
      mx: ["mx.there.test", "*.mx.there.test"],
      fetchedAt: T0,
      expiresAt: T0 + 100,
      ...overrides,
    });
    assertEquals(await store.getStsPolicy("there.test"), null);
    await store.putStsPolicy(policy("there.test"));
    assertEquals(await store.getStsPolicy("there.test"), policy("there.test"));
    const next = policy("there.test", {
      policyId: "2",
      mode: "none",
      mx: [],
      fetchedAt: T0 + 200,
      expiresAt: T0 + 300,
    });
    await store.putStsPolicy(policy("old.test"));
    await store.putStsPolicy(next);
    assertEquals(await store.getStsPolicy("there.test"), next);
    assertEquals(await store.getStsPolicy("old.test"), null);
  },
);
