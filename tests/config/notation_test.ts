/** How people write values, and back. */

import { assertEquals } from "@std/assert";
import * as n from "../../src/config/notation.ts";
import { test } from "../support/test.ts";

test("parseDuration() reads units, compounds and whole seconds, and nothing else", () => {
  const cases: [string | number, number | null][] = [
    ["30s", 30_000],
    ["5m", 300_000],
    ["1h", 3_600_000],
    ["3d", 259_200_000],
    ["500ms", 500],
    ["1h30m", 5_400_000],
    ["45", 45_000],
    [45, 45_000],
    [0, 0],
    ["", null],
    ["5 m", null],
    ["-5s", null],
    ["1.5h", null],
    ["5w", null],
    ["s", null],
    [1.5, null],
    ["5s ", null],
  ];
  for (const [written, ms] of cases) assertEquals(n.parseDuration(written), ms, String(written));
});

test("formatDuration() and formatSize() give what their parsers read back", () => {
  for (const ms of [0, 1, 999, 1000, 90_000, 120_000, 3_600_000, 259_200_000, 3_601_000]) {
    assertEquals(n.parseDuration(n.formatDuration(ms)), ms);
  }
  for (const bytes of [0, 1, 1023, 1024, 1_000_000, 26_214_400, 2 ** 30, 2 ** 40]) {
    assertEquals(n.parseSize(n.formatSize(bytes)), bytes);
  }
  assertEquals([n.formatDuration(259_200_000), n.formatSize(26_214_400)], ["3d", "25MB"]);
});

test("parseSize() counts in powers of 1024 and refuses what no number can hold", () => {
  const cases: [string | number, number | null][] = [
    [26214400, 26_214_400],
    ["25MB", 26_214_400],
    ["25 mb", 26_214_400],
    ["10KB", 10_240],
    ["1GB", 2 ** 30],
    ["7B", 7],
    ["999999999999999TB", null],
    ["25M", null],
    ["MB", null],
    ["-1", null],
    ["1e6", null],
  ];
  for (const [written, bytes] of cases) assertEquals(n.parseSize(written), bytes, String(written));
});

test("parseListen() takes host:port, bracketed IPv6 and unix sockets", () => {
  assertEquals(n.parseListen("0.0.0.0:25"), { host: "0.0.0.0", port: 25 });
  assertEquals(n.parseListen("[::]:0"), { host: "::", port: 0 });
  assertEquals(n.parseListen("localhost:2525"), { host: "localhost", port: 2525 });
  assertEquals(n.parseListen("unix:/run/x.sock"), { path: "/run/x.sock" });
  for (
    const wrong of [
      "25",
      ":25",
      "::1:25",
      "[1.2.3.4]:25",
      "a:99999",
      "unix:x",
      "unix:/",
      "a b:1",
      "999.1.1.1:2",
    ]
  ) {
    assertEquals(n.parseListen(wrong), null, wrong);
  }
});

test("mergeWildcards() takes a pair of both wildcards as the dual-stack one", () => {
  assertEquals(n.mergeWildcards(["0.0.0.0:25", "[::]:25"]), ["[::]:25"]);
  assertEquals(n.mergeWildcards(["0.0.0.0:25", "[::]:26"]), ["0.0.0.0:25", "[::]:26"]);
  assertEquals(n.mergeWildcards(["127.0.0.1:25", "127.0.0.1:25"]), ["127.0.0.1:25"]);
});

test("readDomain() gives lower-case A-labels", () => {
  assertEquals(n.readDomain(" Bücher.Example. "), "xn--bcher-kva.example");
  for (const wrong of ["", "a b.c", "-a.de", "1.2.3.4", "a..b", "x".repeat(64) + ".de", "foo_bar.de"]) {
    assertEquals(n.readDomain(wrong), null, wrong);
  }
});

test("parseHttpUrl() refuses other schemes", () => {
  assertEquals(n.parseHttpUrl("https://a/b")?.hostname, "a");
  for (const wrong of ["ftp://a", "javascript:1", "a.de/x", "http://", "file:///etc/passwd"]) {
    assertEquals(n.parseHttpUrl(wrong), null, wrong);
  }
});
