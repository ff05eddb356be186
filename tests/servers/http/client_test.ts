import { assertEquals } from "@std/assert";
import { clientAddress } from "../../../src/servers/http/client.ts";
import { test } from "../../support/test.ts";

const PROXIES = ["10.0.0.0/8", "127.0.0.1"];

const CASES: [name: string, peer: string, header: string | undefined, trusted: string[], client: string][] = [
  ["Without a header it is the peer", "192.0.2.1", undefined, PROXIES, "192.0.2.1"],
  ["A mapped IPv4 peer is shortened", "::ffff:192.0.2.1", undefined, [], "192.0.2.1"],
  ["A header from a peer not trusted is ignored", "192.0.2.1", "198.51.100.7", PROXIES, "192.0.2.1"],
  ["A trusted proxy vouches for the entry before it", "127.0.0.1", "198.51.100.7", PROXIES, "198.51.100.7"],
  [
    "The right-most address not trusted is the client",
    "127.0.0.1",
    "1.1.1.1, 198.51.100.7, 10.1.1.1",
    PROXIES,
    "198.51.100.7",
  ],
  ["An unreadable entry ends the walk", "127.0.0.1", "198.51.100.7, unknown, 10.1.1.1", PROXIES, "10.1.1.1"],
  ["All trusted: the left-most", "127.0.0.1", "10.2.2.2, 10.1.1.1", PROXIES, "10.2.2.2"],
  ["IPv6 is canonical", "127.0.0.1", "2001:DB8:0::1", PROXIES, "2001:db8::1"],
  ["A port is no part of an IPv4 client", "127.0.0.1", "198.51.100.7:4711", PROXIES, "198.51.100.7"],
  ["Nor of an IPv6 client in brackets", "127.0.0.1", "[2001:db8::1]:4711", PROXIES, "2001:db8::1"],
  ["Brackets alone are fine", "127.0.0.1", "[2001:db8::1]", PROXIES, "2001:db8::1"],
  ["Without brackets digits are a group", "127.0.0.1", "2001:db8::1:4711", PROXIES, "2001:db8::1:4711"],
  ["A proxy on the way may have a port too", "127.0.0.1", "9.9.9.9, 10.1.1.1:80", PROXIES, "9.9.9.9"],
  ["A mapped client is its IPv4 address", "127.0.0.1", "::ffff:198.51.100.7", PROXIES, "198.51.100.7"],
  ["A mapped proxy is trusted as IPv4", "::ffff:127.0.0.1", "198.51.100.7", PROXIES, "198.51.100.7"],
  ["Nobody trusted: nobody believed", "127.0.0.1", "198.51.100.7", [], "127.0.0.1"],
  ["Nothing between commas ends the walk", "127.0.0.1", "198.51.100.7,, 10.1.1.1", PROXIES, "10.1.1.1"],
  [
    "What the client wrote itself is never reached",
    "127.0.0.1",
    "10.9.9.9, 127.0.0.1, 198.51.100.7, 10.1.1.1",
    PROXIES,
    "198.51.100.7",
  ],
  [
    "Of thirty-two trusted hops the left-most is as far as the walk goes",
    "127.0.0.1",
    `198.51.100.7, ${Array.from({ length: 40 }, (_, i) => `10.0.0.${i}`).join(", ")}`,
    PROXIES,
    "10.0.0.8",
  ],
];

for (const [name, peer, header, trusted, client] of CASES) {
  test(name, () => assertEquals(clientAddress(peer, header, trusted), client));
}

const GARBAGE = [
  "unknown",
  "_hidden",
  '"[2001:db8::1]"',
  "for=198.51.100.7",
  "198.51.100.7:",
  "198.51.100.7:123456",
  "198.51.100.7:80:90",
  "198.51.100",
  "198.51.100.07",
  "[198.51.100.7]:80",
  "[2001:db8::1",
  "[2001:db8::1]x",
  "[]:80",
  "fe80::1%eth0",
  "198.51.100.7\t10.0.0.1",
  "0x7f.0.0.1",
  "x".repeat(60_000),
  "1.".repeat(30_000),
];

for (const hop of GARBAGE) {
  test(`No address, so the walk ends before it: ${hop.slice(0, 30)}`, () => {
    assertEquals(clientAddress("127.0.0.1", `203.0.113.9, ${hop}`, PROXIES), "127.0.0.1");
    assertEquals(clientAddress("127.0.0.1", `203.0.113.9, ${hop}, 10.1.1.1`, PROXIES), "10.1.1.1");
  });
}
