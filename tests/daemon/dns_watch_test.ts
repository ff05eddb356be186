import { assertEquals } from "@std/assert";
import { DnsError } from "../../src/base/resolver.ts";
import { DnsWatch } from "../../src/daemon/dns_watch.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

test("dead name servers show in health within seconds, and so does their return", async () => {
  const clock = new FakeClock();
  const asked = new Set<string>();
  let code: DnsError["code"] = "ENOTFOUND";
  const resolver = {
    resolve(name: string): Promise<never> {
      asked.add(name);
      return Promise.reject(new DnsError(code));
    },
  };
  const watch = new DnsWatch({ resolver, hostname: () => "mx.example.com", clock });
  const seen = async () => {
    watch.inTrouble();
    await settle();
    return watch.inTrouble();
  };
  // There is no such name: the name servers said so, and therefore they answer.
  assertEquals(await seen(), false);
  code = "ETIMEOUT";
  assertEquals(await seen(), false);
  await clock.advance(10_000);
  assertEquals(await seen(), true);
  code = "ENOTFOUND";
  await clock.advance(10_000);
  assertEquals(await seen(), false);
  // A name asked twice would be answered by the cache.
  assertEquals(asked.size, 3);
});
