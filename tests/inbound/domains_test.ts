/** Whose mail is taken: configured domains, added ones, recipient lists, postmaster; and nobody else's. */

import { assertEquals } from "@std/assert";
import { DomainTable } from "../../src/inbound/domains.ts";
import { verpAddress } from "../../src/mail/verp.ts";
import type { DomainRecord } from "../../src/store/types.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const KEY = "5e".repeat(32);

function tableOf(records: DomainRecord[] = []) {
  const stored = new Map(records.map((record) => [record.domain, record]));
  const store = {
    listDomains: () => Promise.resolve([...stored.values()]),
    addDomain: (record: DomainRecord) => {
      if (stored.has(record.domain)) return Promise.resolve(false);
      stored.set(record.domain, record);
      return Promise.resolve(true);
    },
    removeDomain: (domain: string) => Promise.resolve(stored.delete(domain)),
  };
  const state = {
    config: { primary_domain: "us.test" as string | undefined, additional_domains: ["Bücher.test"] },
  };
  return {
    table: new DomainTable({ store, config: () => state.config, clock: new FakeClock(), verpKey: () => KEY }),
    state,
    stored,
  };
}

const reason = (table: DomainTable, address: string) => table.accepts(address)?.reason ?? "taken";

test("Configured domains take every local part, others are refused as relaying", async () => {
  const { table } = tableOf();
  await table.load();
  const cases: [string, string][] = [
    ["a@us.test", "taken"],
    ["A@US.test", "taken"],
    ['"a b"@us.test', "taken"],
    ["a@xn--bcher-kva.test", "taken"],
    ["a@bücher.test", "taken"],
    ["Postmaster", "taken"],
    ["a@other.test", "relay_denied"],
    ["a@sub.us.test", "relay_denied"],
    ["a@us.test@other.test", "relay_denied"],
    ["a%other.test@us.test", "taken"],
    ["a@[192.0.2.1]", "relay_denied"],
    ["nobody", "relay_denied"],
    ["", "relay_denied"],
  ];
  for (const [address, expected] of cases) {
    assertEquals([address, reason(table, address)], [address, expected]);
  }
});

test("A domain with a list takes its recipients, in any case and quoting, and postmaster", async () => {
  const { table } = tableOf();
  await table.load();
  assertEquals(await table.add("List.test", ["Anna", "bob@LIST.test"]), "added");
  const cases: [string, string][] = [
    ["anna@list.test", "taken"],
    ["ANNA@list.test", "taken"],
    ['"anna"@list.test', "taken"],
    ["bob@list.test", "taken"],
    ["PostMaster@list.test", "taken"],
    ["carl@list.test", "unknown_recipient"],
  ];
  for (const [address, expected] of cases) {
    assertEquals([address, reason(table, address)], [address, expected]);
  }
});

test("A signed return path is taken in every domain of ours, list or not; an unsigned one is an address", async () => {
  const { table } = tableOf();
  await table.load();
  assertEquals(await table.add("list.test", ["anna"]), "added");
  const place = { messageId: "01JD0000000000000000000001", index: 3 };
  const signed = (domain: string, key = KEY) => verpAddress(key, place, domain);
  const cases: [string, string][] = [
    [signed("list.test"), "taken"],
    [signed("list.test").toUpperCase(), "taken"],
    [signed("us.test"), "taken"],
    [signed("list.test", "00".repeat(32)), "unknown_recipient"],
    [signed("us.test", "00".repeat(32)), "taken"],
    [signed("other.test"), "relay_denied"],
    [signed("list.test").replace("bounces+", "bounces+x"), "unknown_recipient"],
  ];
  for (const [address, expected] of cases) {
    assertEquals([address, reason(table, address)], [address, expected]);
  }
});

test("Added domains are listed, kept, and removed; configured ones can't be", async () => {
  const { table, state } = tableOf();
  await table.load();
  assertEquals(await table.add("new.test", null), "added");
  assertEquals(await table.add("NEW.test", null), "exists");
  assertEquals(await table.add("us.test", null), "exists");
  assertEquals(await table.add("no domain", null), { problem: "not a domain name" });
  assertEquals(await table.add("x.test", ["a b"]), { problem: '"a b" is not an address' });
  assertEquals(await table.add("x.test", ["a@y.test"]), { problem: '"a@y.test" is not in x.test' });
  assertEquals(await table.add("x.test", Array(100_001).fill("a")), {
    problem: "more than 100000 recipients",
  });
  assertEquals(table.list(), [
    { domain: "new.test", recipients: null, source: "store" },
    { domain: "us.test", recipients: null, source: "config" },
    { domain: "xn--bcher-kva.test", recipients: null, source: "config" },
  ]);
  assertEquals(reason(table, "a@new.test"), "taken");
  assertEquals(await table.remove("us.test"), "configured");
  assertEquals(await table.remove("new.test"), "removed");
  assertEquals(await table.remove("new.test"), "unknown");
  assertEquals(reason(table, "a@new.test"), "relay_denied");
  state.config = { primary_domain: undefined, additional_domains: ["reload.test"] };
  assertEquals([reason(table, "a@us.test"), reason(table, "a@reload.test")], ["relay_denied", "taken"]);
});

test("load() reads what an earlier run added; a domain that is also configured takes everything", async () => {
  const { table } = tableOf([
    { domain: "old.test", recipients: ["a@old.test"], createdAt: 0 },
    { domain: "us.test", recipients: ["a@us.test"], createdAt: 0 },
  ]);
  await table.load();
  assertEquals([reason(table, "a@old.test"), reason(table, "b@us.test")], ["taken", "taken"]);
  assertEquals(table.list().filter((entry) => entry.domain === "us.test").map((entry) => entry.source), [
    "config",
  ]);
});

test("A domain that somebody else added meanwhile counts as existing", async () => {
  const { table, stored } = tableOf();
  stored.set("race.test", { domain: "race.test", recipients: null, createdAt: 0 });
  assertEquals(await table.add("race.test", null), "exists");
});
