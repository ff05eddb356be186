/** IP addresses: one spelling, honest ranges, and no way around "not public". */

import { assertEquals } from "@std/assert";
import {
  inRanges,
  isPublic,
  isRange,
  networkAround,
  networkKey,
  overlapping,
  parseAddress,
  parseNetwork,
  plainAddress,
} from "../../src/base/address.ts";
import { test } from "../support/test.ts";

test("parseAddress() takes exact addresses only, and shortens mapped ones", () => {
  const cases: [string, string | null][] = [
    ["192.0.2.1", "192.0.2.1"],
    ["2001:DB8:0:0::1", "2001:db8::1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["::ffff:c000:201", "192.0.2.1"],
    ["::192.0.2.1", "::c000:201"],
    ["64:ff9b::192.0.2.1", "64:ff9b::c000:201"],
    ["010.0.0.1", null],
    ["0x7f.0.0.1", null],
    ["127.1", null],
    ["2130706433", null],
    ["1.2.3.256", null],
    ["1.2.3.4.5", null],
    ["::ffff:010.0.0.1", null],
    ["::ffff:1.2.3.999", null],
    ["1::2::3", null],
    ["fe80::1%eth0", null],
    ["[::1]", null],
    [" 192.0.2.1", null],
    ["", null],
    ["1".repeat(100), null],
  ];
  for (const [text, expected] of cases) {
    assertEquals([text, parseAddress(text)?.text ?? null], [text, expected]);
  }
  assertEquals(parseAddress("::1")!.family, 6);
  assertEquals(parseAddress("10.0.0.1"), { family: 4, text: "10.0.0.1", bytes: [10, 0, 0, 1] });
});

test("plainAddress() makes a socket's address readable and leaves what is none", () => {
  assertEquals(["::ffff:10.0.0.1", "fe80::1%eth0", "/run/x.sock"].map(plainAddress), [
    "10.0.0.1",
    "fe80::1",
    "/run/x.sock",
  ]);
});

test("inRanges() knows CIDR, single addresses, loopback and mapped forms", () => {
  const inside: [string, string][] = [
    ["10.1.2.3", "10.0.0.0/8"],
    ["::ffff:10.1.2.3", "10.0.0.0/8"],
    ["10.1.2.3", "::ffff:10.0.0.0/104"],
    ["127.9.9.9", "loopback"],
    ["::1", "loopback"],
    ["2001:db8::9", "2001:db8::/32"],
    ["192.0.2.1", "192.0.2.1"],
    ["192.0.2.1", "0.0.0.0/0"],
  ];
  for (const [address, range] of inside) {
    assertEquals([address, range, inRanges(address, [range])], [address, range, true]);
  }
  const outside: [string, string][] = [
    ["11.0.0.1", "10.0.0.0/8"],
    ["10.0.0.1", "::/0"],
    ["nonsense", "0.0.0.0/0"],
    ["10.0.0.1", "10.0.0.0/33"],
    ["10.0.0.1", "10.0.0.0/x"],
    ["10.0.0.1", "localhost"],
    ["10.0.0.1", "::ffff:10.0.0.0/90"],
  ];
  for (const [address, range] of outside) {
    assertEquals([address, range, inRanges(address, [range])], [address, range, false]);
  }
  assertEquals(inRanges("127.0.0.1", []), false);
  assertEquals(["loopback", "10.0.0.0/8", "::1", "10/8", "x"].map(isRange), [true, true, true, false, false]);
});

test("networkKey() is the address for IPv4 and the /64 for IPv6", () => {
  assertEquals(["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1:2:3::4", "x"].map((a) => networkKey(a)), [
    "192.0.2.1",
    "192.0.2.1",
    "2001:db8:1:2::/64",
    "x",
  ]);
});

test("isPublic() sees through every form that ends at a private address", () => {
  const shut = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:10.0.0.1",
    "::ffff:0:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "2002:a00:1::",
    "2002:7f00:1::1",
    "2001:0:808:808::f5ff:fffe",
    "2001:0:a00:1::f7f7:f7f7",
    "2001:db8::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "100::1",
    "4000::1",
    "2606:4700::5efe:10.0.0.1",
    "not an address",
  ];
  assertEquals(shut.filter((address) => isPublic(address)), []);
  const open = [
    "8.8.8.8",
    "1.1.1.1",
    "2606:4700::1111",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "2606:4700::5efe:8.8.8.8",
    "2001:0:808:808::f7f7:f7f7",
    "::ffff:8.8.8.8",
  ];
  assertEquals(open.filter((address) => !isPublic(address)), []);
});

test("parseNetwork() has one spelling for a range, and networkAround() finds it for every address in it", () => {
  const cases: [string, string | null][] = [
    ["192.0.2.200", "192.0.2.200/32"],
    ["192.0.2.200/25", "192.0.2.128/25"],
    ["192.0.2.200/0", "0.0.0.0/0"],
    ["::ffff:192.0.2.200/121", "192.0.2.128/25"],
    ["2001:DB8:0:0:FF00::1/72", "2001:db8:0:0:ff00::/72"],
    ["2001:db8::ffff/113", "2001:db8::8000/113"],
    ["::1", "::1/128"],
    ["ffff::/1", "8000::/1"],
    ["192.0.2.0/33", null],
    ["::ffff:192.0.2.0/95", null],
    ["192.0.2.0/", null],
    ["192.0.2/24", null],
    ["loopback", null],
  ];
  for (const [text, expected] of cases) {
    assertEquals([text, parseNetwork(text)?.text ?? null], [text, expected]);
  }
  for (let bits = 0; bits <= 128; bits++) {
    const network = networkAround(parseAddress("2001:db8:a5a5::f0f0")!, bits);
    assertEquals([parseNetwork(network)?.text, parseNetwork(network)?.bits], [network, bits]);
    assertEquals(inRanges("2001:db8:a5a5::f0f0", [network]), true);
  }
});

test("overlapping() finds ranges inside, around and equal, and none of the other family", () => {
  const ranges = ["loopback", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0", "2001:db8::/32", "broken"];
  const of = (text: string) => overlapping(parseNetwork(text)!, ranges);
  assertEquals(of("10.0.0.0/8"), ["10.1.0.0/16", "10.1.2.3", "0.0.0.0/0"]);
  assertEquals(of("10.1.3.0/24"), ["10.1.0.0/16", "0.0.0.0/0"]);
  assertEquals(of("127.0.0.1"), ["loopback", "0.0.0.0/0"]);
  assertEquals(of("::/16"), ["loopback"]);
  assertEquals(of("2001:db8::1"), ["2001:db8::/32"]);
});
