/** Clients behind the before-queue filter: mails under way, tokens by the client's own connections, and bounds. */

import { assertEquals } from "@std/assert";
import { ForwardedClients } from "../../src/guard/forwarded_clients.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const LIMITS = {
  max_connections_per_ip: 2,
  max_total_connections: 1,
  throttle_connections_per_minute: 3,
  connection_allowlist: ["127.0.0.0/8"],
};

function clientsWith(over: Partial<typeof LIMITS> = {}, portsMax?: number) {
  const clients = new ForwardedClients(() => ({ ...LIMITS, ...over }), new FakeClock(), portsMax);
  const ask = (address: string, port: number | null = null) => {
    const admission = clients.admit(address, port);
    return admission.admitted ? "in" : admission.reason;
  };
  /** A mail that is over at once. */
  const mail = (address: string, port: number | null = null) => {
    const admission = clients.admit(address, port);
    if (!admission.admitted) return admission.reason;
    admission.leave();
    return "in";
  };
  return { clients, ask, mail };
}

test("an address may have so many mails under way, an IPv6 /64 as one, and the total is not theirs", () => {
  const { clients, ask } = clientsWith({ throttle_connections_per_minute: 100 });
  const first = clients.admit("2001:db8::1", 1001);
  const said = ["2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", "192.0.2.1"].map((a) => ask(a, 1002));
  assertEquals(said, ["in", "per_ip", "in", "in"]);
  if (first.admitted) first.leave();
  assertEquals(ask("2001:db8::4", 1003), "in");
});

test("ten mails over one connection of the client take one token, ten over ten are throttled", () => {
  const { mail } = clientsWith();
  for (let i = 0; i < 10; i++) assertEquals(mail("192.0.2.1", 1001), "in");
  // Two connections in turn are two tokens, not one for each mail.
  for (let i = 0; i < 10; i++) assertEquals(mail("192.0.2.1", 1002 - i % 2), "in");
  assertEquals([mail("192.0.2.1", 1003), mail("192.0.2.1", 1004)], ["in", "throttle"]);
  assertEquals(mail("192.0.2.1", 1001), "in");
  assertEquals(mail("192.0.2.2", 1001), "in");
});

test("a port that was turned away is not known the next time", () => {
  const { mail } = clientsWith({ throttle_connections_per_minute: 1 });
  assertEquals([1, 2, 2].map((port) => mail("192.0.2.1", port)), ["in", "throttle", "throttle"]);
});

test("without a port each mail takes a token, and a port that is always the same takes one now and then", () => {
  const { mail } = clientsWith();
  assertEquals([1, 2, 3, 4].map(() => mail("192.0.2.1")), ["in", "in", "in", "throttle"]);
  const said = Array.from({ length: 301 }, () => mail("192.0.2.2", 1001));
  assertEquals([said.filter((one) => one === "in").length, said.at(-1)], [300, "throttle"]);
});

test("a forwarded address on the allowlist is free", () => {
  const { ask } = clientsWith();
  assertEquals(new Set(Array.from({ length: 20 }, (_, i) => ask("127.0.0.9", i))), new Set(["in"]));
});

test("only so many ports are remembered: the one unused longest is forgotten first", () => {
  const { mail } = clientsWith({ throttle_connections_per_minute: 4 }, 2);
  for (const port of [1, 2, 1, 3]) assertEquals(mail("192.0.2.1", port), "in");
  // 3 tokens are gone; 1 is still known, 2 is not: it takes the last one, and the place of 3.
  assertEquals([1, 2, 3, 1].map((port) => mail("192.0.2.1", port)), ["in", "in", "throttle", "in"]);
});
