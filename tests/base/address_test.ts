/** IP addresses: one spelling, honest ranges, and no way around "not public". */

import { assertEquals } from "@std/assert";
import {
  inRanges,
  isPublic,
  isRange,
  networkKey,
  parseAddress,
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
