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

/** First, last and what surprises of each special range: IANA's registries, and who else says so. */
const SPECIAL: Record<string, string[]> = {
  "this network": ["0.0.0.0", "0.1.2.3", "0.255.255.255"],
  "private": ["10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"],
  "carrier-grade NAT": ["100.64.0.0", "100.127.255.255"],
  "loopback": ["127.0.0.1", "127.255.255.255", "::1"],
  "link-local": ["169.254.0.0", "169.254.255.255", "fe80::", "febf:ffff::1"],
  "protocol assignments": ["192.0.0.0", "192.0.0.8", "192.0.0.9", "192.0.0.170", "192.0.0.255"],
  "documentation": [
    "192.0.2.255",
    "198.51.100.1",
    "203.0.113.255",
    "2001:db8:ffff::1",
    "3fff::",
    "3fff:fff::1",
  ],
  "AS112 and AMT": [
    "192.31.196.1",
    "192.52.193.1",
    "192.175.48.1",
    "2001:3::1",
    "2001:4:112::1",
    "2620:4f:8000::1",
  ],
  "6to4 relays": ["192.88.99.0", "192.88.99.255"],
  "benchmarking": ["198.18.0.0", "198.19.255.255", "2001:2::1"],
  "multicast": ["224.0.0.1", "239.255.255.255", "ff00::", "ff02::1", "ffff::1"],
  "reserved and broadcast": ["240.0.0.0", "255.255.255.254", "255.255.255.255"],
  "unspecified": ["::"],
  "IPv4-compatible": ["::2", "::127.0.0.1", "::8.8.8.8"],
  "IPv4-mapped": ["::ffff:10.0.0.1", "::ffff:0.0.0.0", "::ffff:a9fe:a9fe"],
  "IPv4-translated": ["::ffff:0:10.0.0.1", "::ffff:0:8.8.8.8"],
  "NAT64 of those": ["64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::100.100.100.200"],
  "local NAT64": ["64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff::1", "64:ff9b:0:1::8.8.8.8"],
  "discard and dummy": ["100::", "100::ffff:ffff:ffff:ffff", "100:0:0:1::1"],
  "6to4 of those": ["2002:a00:1::", "2002:7f00:1::1", "2002:a9fe:a9fe::", "2002:e000:1::"],
  "Teredo of those": ["2001::1", "2001:0:808:808::f5ff:fffe", "2001:0:a00:1::f7f7:f7f7"],
  "IETF protocols": ["2001:1::1", "2001:1::3", "2001:5::1", "2001:1ff:ffff::1"],
  "ORCHID and drones": ["2001:10::1", "2001:20::1", "2001:2f:ffff::1", "2001:30::1"],
  "ISATAP of those": ["2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:127.0.0.1", "fe80::5efe:8.8.8.8"],
  "segment routing": ["5f00::", "5f00:ffff::1"],
  "unique local": ["fc00::", "fd00::1", "fdff:ffff::1"],
  "site-local, once": ["fec0::1", "feff::1"],
  "outside global unicast": ["1::1", "1fff::1", "4000::1", "8000::1", "e000::1"],
  "no address": ["not an address", "", "10.0.0.1/8", "localhost"],
};

/** By cloud; all but one lie in ranges above, but nobody shall have to know that. */
const METADATA = {
  "AWS, Azure, Google, Oracle, DigitalOcean": ["169.254.169.254", "::ffff:169.254.169.254"],
  "AWS containers and IPv6": ["169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23"],
  "AWS DNS and time": ["169.254.169.253", "169.254.169.123", "fd00:ec2::253"],
  "Google IPv6": ["fd20:ce::254"],
  "Alibaba": ["100.100.100.200"],
  "Oracle, old": ["192.0.0.192"],
  "Azure's wire server": [
    "168.63.129.16",
    "::ffff:168.63.129.16",
    "64:ff9b::168.63.129.16",
    "2002:a83f:8110::1",
  ],
};

for (const [name, addresses] of Object.entries({ ...SPECIAL, ...METADATA })) {
  test(`isPublic() refuses ${name}`, () => assertEquals(addresses.filter((a) => isPublic(a)), []));
}

test("isPublic() takes what is on the open Internet, up to the edges of what is not", () => {
  const open = [
    ..."1.0.0.0 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0".split(" "),
    ..."168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0".split(" "),
    ..."191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0".split(
      " ",
    ),
    ..."198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0".split(" "),
    ..."223.255.255.255 8.8.8.8 1.1.1.1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1".split(" "),
    ..."2001:200::1 2001:db7:ffff::1 2001:db9::1 2003::1 2606:4700::1111 2a00:1450::1 3ffd::1".split(" "),
    ..."2606:4700::5efe:8.8.8.8 2001:0:808:808::f7f7:f7f7".split(" "),
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
