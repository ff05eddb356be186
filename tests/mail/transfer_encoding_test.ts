import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { createTransferDecoder, type TransferEncoding } from "../../src/mail/transfer_encoding.ts";
import { test } from "../support/test.ts";

const encode = (text: string) => new TextEncoder().encode(text);

function decode(encoding: TransferEncoding, encoded: Uint8Array, keepBytesMax = Infinity, pieceBytes = 7) {
  const decoder = createTransferDecoder(encoding, keepBytesMax);
  for (let at = 0; at < encoded.length; at += pieceBytes) decoder.push(encoded.subarray(at, at + pieceBytes));
  decoder.end();
  return { bytes: decoder.result(), sizeBytes: decoder.sizeBytes, broken: decoder.broken };
}

function textOf(encoding: TransferEncoding, encoded: string): [string, boolean] {
  const { bytes, broken } = decode(encoding, encode(encoded));
  return [new TextDecoder().decode(bytes), broken];
}

test("base64 is decoded whatever its lines and however it is cut", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), fc.integer({ min: 1, max: 90 }), (bytes, width) => {
      const lines = bytes.toBase64().replace(new RegExp(`.{${width}}`, "g"), "$&\r\n");
      const decoded = decode("base64", encode(lines), Infinity, width + 1);
      assertEquals(decoded, { bytes: bytes.slice(), sizeBytes: bytes.length, broken: false });
    }),
  );
});

test("base64 that is damaged gives what can be saved and says so", () => {
  assertEquals(textOf("base64", "SGVsbG8="), ["Hello", false]);
  assertEquals(textOf("base64", "SGVsbG8=\r\nIQ=="), ["Hello!", false]);
  assertEquals(textOf("base64", "SGVs!bG8="), ["Hello", true]);
  assertEquals(textOf("base64", "SGVsbG8"), ["Hello", true]);
  assertEquals(textOf("base64", "SGVsb"), ["Hel", true]);
  assertEquals(textOf("base64", "===="), ["", false]);
  assertEquals(textOf("base64", ""), ["", false]);
});

test("quoted-printable is decoded, soft line breaks removed", () => {
  assertEquals(textOf("quoted-printable", "a=3Db=\r\nc=\nd=e4=E4"), ["a=bcd\ufffd\ufffd", false]);
  assertEquals(textOf("quoted-printable", "line\r\nline="), ["line\r\nline", false]);
});

test("quoted-printable that is none stands as it is and says so", () => {
  assertEquals(textOf("quoted-printable", "1=2 =G1 =\rx ==41 =4"), ["1=2 =G1 =\rx =A =4", true]);
});

test("Everything else is itself", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 3_000 }), (bytes) => {
    assertEquals(decode("identity", bytes), { bytes: bytes.slice(), sizeBytes: bytes.length, broken: false });
  }));
});

test("Only the first bytes are kept, and all are counted", () => {
  const encoded = encode(btoa("x".repeat(5_000)));
  for (const keep of [0, 1, 1_024, 4_999]) {
    const { bytes, sizeBytes } = decode("base64", encoded, keep);
    assertEquals([bytes.length, sizeBytes], [keep, 5_000]);
    const plain = decode("identity", new Uint8Array(5_000), keep, 700);
    assertEquals([plain.bytes.length, plain.sizeBytes], [keep, 5_000]);
  }
});
