import { assert, assertEquals } from "@std/assert";
import { OpenConnections } from "../../src/guard/open_connections.ts";
import { test } from "../support/test.ts";

test("A network holds so many connections, and one that leaves makes room once", () => {
  const open = new OpenConnections(2, 100);
  const leave = open.enter("192.0.2.1");
  assert(leave && open.enter("::ffff:192.0.2.1"));
  assertEquals(open.enter("192.0.2.1"), null);
  assert(open.enter("192.0.2.2"));
  leave();
  leave();
  assert(open.enter("192.0.2.1"));
  assertEquals(open.enter("192.0.2.1"), null);
});

test("All addresses of an IPv6 /64 are one network", () => {
  const open = new OpenConnections(1, 100);
  assert(open.enter("2001:db8::1"));
  assertEquals(open.enter("2001:db8::ffff:1"), null);
  assert(open.enter("2001:db8:0:1::1"));
});

test("All networks together have a maximum, and who was refused takes no place", () => {
  const open = new OpenConnections(10, 3);
  const leave = [1, 2, 3].map((i) => open.enter(`192.0.2.${i}`));
  for (let i = 4; i < 250; i++) assertEquals(open.enter(`192.0.2.${i}`), null);
  leave[0]!();
  assert(open.enter("192.0.2.200"));
  assertEquals(open.enter("192.0.2.201"), null);
});
