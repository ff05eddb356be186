import { assertEquals } from "@std/assert";
import { reasonOf, reasonText } from "../../src/delivery/reason.ts";
import { test } from "../support/test.ts";

test("Reasons are our words, never the other side's bytes", () => {
  const reason = (code: string, message = "bytes\r\nof a stranger") =>
    reasonText(Object.assign(new Error(message), { code }));
  assertEquals(reason("ECONNREFUSED"), "connection refused");
  assertEquals(reason("HPE_INVALID_CONSTANT"), "the answer is not HTTP");
  assertEquals(reason("CERT_HAS_EXPIRED"), "TLS failed: the certificate has expired");
  assertEquals(reason("ERR_TLS_CERT_ALTNAME_INVALID"), "TLS failed: the certificate is for another name");
  assertEquals(reason("DEPTH_ZERO_SELF_SIGNED_CERT"), "TLS failed: the certificate is not trusted");
  assertEquals(reason("ERR_SSL_WRONG_VERSION_NUMBER"), "TLS failed: no common ground in the handshake");
  assertEquals(reason("EWHATEVER"), "connection failed");
  // A name that every object has is no reason of ours.
  assertEquals(reason("toString"), "connection failed");
  assertEquals(reasonText("text"), "connection failed");
});

test("A reason says whether it is about TLS, and of what is not known it says nothing", () => {
  const reason = (code: string) => reasonOf(Object.assign(new Error("x"), { code }));
  assertEquals(reason("EMFILE"), { isTls: false, words: "no file descriptors left" });
  assertEquals(reason("CERT_NOT_YET_VALID"), { isTls: true, words: "the certificate is not valid yet" });
  assertEquals([reason("EWHATEVER"), reasonOf("ECONNRESET"), reasonOf(null)], [null, null, null]);
});
