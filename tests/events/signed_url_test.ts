import { assert, assertEquals } from "@std/assert";
import { signPath, verifySignedPath } from "../../src/events/signed_url.ts";
import { test } from "../support/test.ts";

const KEY = "0123456789abcdef".repeat(4);
const PATH = "/v1/messages/01J00000000000000000000001/attachments/0";
const EXPIRES = 1_767_355_200;
const before = EXPIRES * 1000 - 1;

test("A signed path verifies until it expires", () => {
  const query = signPath(KEY, PATH, EXPIRES);
  assert(verifySignedPath(KEY, PATH, query, before));
  assert(verifySignedPath(KEY, PATH, new URLSearchParams(query), before));
  assertEquals(verifySignedPath(KEY, PATH, query, before + 1), false);
});

test("Another path, key, expiry or signature does not verify", () => {
  const query = signPath(KEY, PATH, EXPIRES);
  const signature = new URLSearchParams(query).get("signature") ?? "";
  const wrong: [string, string, string][] = [
    [KEY, PATH.replace("/0", "/1"), query],
    [KEY, PATH + "/", query],
    ["00".repeat(32), PATH, query],
    [KEY, PATH, query.replace(String(EXPIRES), String(EXPIRES + 1))],
    [KEY, PATH, query.replace(String(EXPIRES), ` ${EXPIRES}`)],
    [KEY, PATH, query.replace(String(EXPIRES), "1e12")],
    [KEY, PATH, query.replace(String(EXPIRES), "9".repeat(13))],
    [KEY, PATH, `expires=${EXPIRES}`],
    [KEY, PATH, `signature=${signature}`],
    [KEY, PATH, `expires=${EXPIRES}&signature=${signature.slice(1)}`],
    [KEY, PATH, `expires=${EXPIRES}&signature=${"A".repeat(43)}`],
    [KEY, PATH, `expires=${EXPIRES}&signature=${signature}=`],
    [KEY, PATH, `expires=${EXPIRES}&signature=%00`],
    [KEY, PATH, ""],
  ];
  for (const [key, path, given] of wrong) {
    assertEquals(verifySignedPath(key, path, given, before), false, given);
  }
});
