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
];

for (const [name, peer, header, trusted, client] of CASES) {
  test(name, () => assertEquals(clientAddress(peer, header, trusted), client));
}
