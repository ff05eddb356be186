/** Which addresses are refused, form by form. */

import { assertEquals, assertRejects } from "@std/assert";
import { DestinationGuard } from "../../../src/delivery/egress/guard.ts";
import { EgressError } from "../../../src/delivery/egress/mod.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { test } from "../../support/test.ts";

const PUBLIC = "93.184.215.14";

function guardOf(names: Record<string, string[]> = {}): DestinationGuard {
  const lookupHost = (name: string) => Promise.resolve(names[name] ?? []);
  return new DestinationGuard({ lookupHost, clock: new FakeClock(), allowedBy: "a_setting" });
}

const REFUSED: Record<string, string> = {
  "loopback": "http://127.0.0.1/",
  "loopback, other": "http://127.8.9.10/",
  "loopback, decimal": "http://2130706433/",
  "loopback, hexadecimal": "http://0x7f000001/",
  "loopback, octal": "http://0177.0.0.1/",
  "loopback, short": "http://127.1/",
  "loopback, full-width digits": "http://１２７.0.0.1/",
  "loopback, trailing dot": "http://127.0.0.1./",
  "loopback by name": "http://localhost:3000/",
  "loopback by a name below": "http://app.localhost/",
  "loopback by name with a dot": "http://localhost./",
  "unspecified": "http://0.0.0.0/",
  "unspecified, zero": "http://0/",
  "private 10": "http://10.1.2.3/",
  "private 172.16": "http://172.31.255.255/",
  "private 192.168": "http://192.168.0.1/",
  "link-local": "http://169.254.1.1/",
  "cloud metadata": "http://169.254.169.254/latest/meta-data/",
  "carrier-grade NAT": "http://100.64.0.1/",
  "multicast": "http://224.0.0.1/",
  "reserved": "http://240.0.0.1/",
  "broadcast": "http://255.255.255.255/",
  "IPv6 loopback": "http://[::1]/",
  "IPv6 unspecified": "http://[::]/",
  "IPv6 mapped": "http://[::ffff:127.0.0.1]/",
  "IPv6 mapped, hexadecimal": "http://[::ffff:7f00:1]/",
  "IPv6 unique local": "http://[fd00::1]/",
  "IPv6 link-local": "http://[fe80::1]/",
  "IPv6 multicast": "http://[ff02::1]/",
  "NAT64 of a private address": "http://[64:ff9b::10.0.0.1]/",
  "local NAT64": "http://[64:ff9b:1::1]/",
  "6to4 of a private address": "http://[2002:7f00:1::]/",
  "documentation": "http://[2001:db8::1]/",
};

for (const [name, url] of Object.entries(REFUSED)) {
  test(`Refused: ${name}`, async () => {
    await assertRejects(
      () => guardOf().addressesOf(new URL(url), false),
      EgressError,
      "private address",
    );
    assertEquals((await guardOf().addressesOf(new URL(url), true)).length > 0, true);
  });
}

test("A public address and a name with only public addresses are fine", async () => {
  const guard = guardOf({ "app.example": [PUBLIC, "2606:2800:21f:cb07:6820:80da:af6b:8b2c"] });
  assertEquals(await guard.addressesOf(new URL(`https://${PUBLIC}/`), false), [PUBLIC]);
  assertEquals((await guard.addressesOf(new URL("https://app.example/"), false)).length, 2);
  assertEquals((await guard.addressesOf(new URL("https://APP.example./"), false)).length, 2);
});

test("A name with one inner address among public ones is refused whole", async () => {
  const guard = guardOf({ "mixed.example": [PUBLIC, "10.0.0.1"], "mapped.example": ["::ffff:10.0.0.1"] });
  for (const host of ["mixed.example", "mapped.example"]) {
    await assertRejects(
      () => guard.addressesOf(new URL(`http://${host}/`), false),
      EgressError,
      "private",
    );
  }
});

test("User names, other schemes, names without address and strange answers are refused", async () => {
  const guard = guardOf({ "odd.example": ["not an address"] });
  const refused = async (url: string, text: string) => {
    const error = await assertRejects(() => guard.addressesOf(new URL(url), true), EgressError, text);
    assertEquals(error.message.includes("s3cret"), false);
  };
  await refused("http://user:s3cret@app.example/", "user name or password");
  await refused("http://s3cret@app.example/", "user name or password");
  await refused("file:///etc/passwd", "neither http nor https");
  await refused("https://nobody.example/", "no address");
  await refused("https://odd.example/", "no proper address");
});

test("Answers are remembered for 30 s, failures not at all", async () => {
  const clock = new FakeClock();
  let asked = 0;
  const lookupHost = () => ++asked === 1 ? Promise.reject(new Error("SERVFAIL")) : Promise.resolve([PUBLIC]);
  const guard = new DestinationGuard({ lookupHost, clock, allowedBy: "a_setting" });
  const look = () => guard.addressesOf(new URL("https://app.example/"), false);
  await assertRejects(look, EgressError, "can't be resolved now");
  await look();
  await look();
  assertEquals(asked, 2);
  await clock.advance(31_000);
  await look();
  assertEquals(asked, 3);
});

test("The memory for names is bounded", async () => {
  let asked = 0;
  const lookupHost = () => Promise.resolve([`93.184.215.${++asked % 200}`]);
  const guard = new DestinationGuard({ lookupHost, clock: new FakeClock(), allowedBy: "a_setting" });
  for (let i = 0; i < 1_100; i++) await guard.addressesOf(new URL(`https://a${i}.example/`), false);
  await guard.addressesOf(new URL("https://a1.example/"), false);
  assertEquals(asked, 1_101);
});

test("What looks like two hosts is the one that is connected to, and what is none is no URL", async () => {
  const asked: string[] = [];
  const lookupHost = (name: string) => Promise.resolve(asked.push(name) > 0 ? [PUBLIC] : []);
  const guard = new DestinationGuard({ lookupHost, clock: new FakeClock(), allowedBy: "a_setting" });
  for (const after of ["\\@127.0.0.1/", "#@127.0.0.1/", "?@127.0.0.1/", "/@127.0.0.1/", ":80/", "./"]) {
    await guard.addressesOf(new URL(`http://app.example${after}`), false);
  }
  assertEquals(asked, ["app.example"]);
  const none = [
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "1.2.3.4.5",
    "256.0.0.1",
    "0x100000000",
    "a%00b",
    "a%2fb",
  ];
  assertEquals(none.filter((host) => URL.parse(`http://${host}/`) !== null), []);
});
