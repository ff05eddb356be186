import { assert, assertEquals, assertThrows } from "@std/assert";
import { Webhook } from "standardwebhooks";
import { decodeSecret, sign, TOLERANCE_SECONDS, verify } from "../../../src/delivery/webhook/sign.ts";
import { test } from "../../support/test.ts";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER = "whsec_" + btoa("fedcba9876543210fedcba9876543210");
const body = new TextEncoder().encode('{"test": 2432232314}');
const now = 1614265330;

test("sign() makes what the official library makes, and verify() takes what it makes", () => {
  const signature = sign([SECRET], "msg_1", now, body);
  const official = new Webhook(SECRET).sign("msg_1", new Date(now * 1000), new TextDecoder().decode(body));
  assertEquals(signature, official);
  assert(verify(SECRET, { id: "msg_1", timestamp: String(now), signature: official, body }, now * 1000));
});

test("With two secrets there are two signatures, and either verifies", () => {
  const signature = sign([SECRET, OTHER], "msg_1", now, body);
  const request = { id: "msg_1", timestamp: String(now), signature, body };
  assertEquals(signature.split(" ").length, 2);
  assert(verify(SECRET, request, now * 1000) && verify(OTHER, request, now * 1000));
});

test("verify() refuses anything changed, missing, old or from the future", () => {
  const good = { id: "msg_1", timestamp: String(now), signature: sign([SECRET], "msg_1", now, body), body };
  const wrong = [
    { ...good, id: "msg_2" },
    { ...good, id: null },
    { ...good, timestamp: String(now + 1) },
    { ...good, timestamp: null },
    { ...good, timestamp: "1e9" },
    { ...good, signature: null },
    { ...good, signature: good.signature.replace("v1,", "v2,") },
    { ...good, signature: "v1," },
    { ...good, signature: good.signature.slice(0, -1) },
    { ...good, signature: "v1,a ".repeat(12) + good.signature },
    { ...good, body: new TextEncoder().encode("{}") },
  ];
  for (const request of wrong) assertEquals(verify(SECRET, request, now * 1000), false);
  assertEquals(verify(OTHER, good, now * 1000), false);
  for (const seconds of [-TOLERANCE_SECONDS - 1, TOLERANCE_SECONDS + 1]) {
    assertEquals(verify(SECRET, good, (now + seconds) * 1000), false);
  }
});

test("A secret that is none is refused without being repeated", () => {
  for (const secret of ["", "plain", "whsec_", "whsec_not base64!"]) {
    const error = assertThrows(() => decodeSecret(secret), Error, "Cannot sign");
    assertEquals(error.message.includes("not base64!"), false);
  }
});
