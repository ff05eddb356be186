/**
 * DNS answers: bytes that a name server, or somebody in its place, may send. Decoding ends with a message of the
 * promised shape or an error, and the resolver ends with values of the right kind or a DnsError.
 */

import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import dgram from "node:dgram";
import fc from "fast-check";
import { parseAddress } from "../../../src/base/address.ts";
import { systemClock } from "../../../src/base/clock.ts";
import {
  decodeMessage,
  type DnsMessage,
  dnsName,
  encodeMessage,
  encodeQuery,
} from "../../../src/base/dns_message.ts";
import { createResolver, DnsError } from "../../../src/base/resolver.ts";
import { binary, hostile, latin1, latin1Text, mutated } from "../arbitraries.ts";
import { type FuzzTarget, property } from "../property.ts";

const NAME = "x.example";
const HEADER_BYTES = 12;
/** Where the name in the question stands, as a compression pointer. */
const POINTER = "\xc0\x0c";

const name = fc.constantFrom(NAME, "y.example", "a.b.c.d.e.example", "example", "xn--bcher-kva.example");
const ttl = fc.constantFrom(0, 1, 300, 2 ** 31 - 1);
const quad = fc.ipV4();
const record = fc.oneof(
  fc.record({ type: fc.constant("A"), name, ttl, data: quad }),
  fc.record({
    type: fc.constant("AAAA"),
    name,
    ttl,
    data: fc.ipV6().map((text) => parseAddress(text)).filter((a) => a?.family === 6).map((a) => a!.text),
  }),
  fc.record({ type: fc.constantFrom("CNAME", "NS", "PTR"), name, ttl, data: name }),
  fc.record({
    type: fc.constant("MX"),
    name,
    ttl,
    data: fc.record({ preference: fc.nat(65535), exchange: name }),
  }),
  fc.record({
    type: fc.constant("TXT"),
    name,
    ttl,
    data: fc.array(fc.stringMatching(/^[ -~]{0,60}$/), { minLength: 1, maxLength: 3 }),
  }),
);

type Plain = { type: string; name: string; ttl: number; data: unknown };
const records: fc.Arbitrary<Plain[]> = fc.array(record as fc.Arbitrary<Plain>, { maxLength: 5 });

function encoded(answers: Plain[], authorities: Plain[], type = "A"): Uint8Array {
  // Cloned, because the library writes its buffers into what it is given.
  return encodeMessage(structuredClone({
    type: "response",
    id: 7,
    flags: 0x0180,
    questions: [{ name: NAME, type, class: "IN" }],
    answers,
    authorities,
  }));
}

/** Buffers of TXT as the text that went in, addresses in one spelling. */
function readable({ type, name, ttl, data }: Plain): Plain {
  if (type === "TXT") {
    return {
      type,
      name,
      ttl,
      data: (data as Uint8Array[]).map((part) => new TextDecoder().decode(part)),
    };
  }
  return { type, name, ttl, data: type === "AAAA" ? parseAddress(data as string)?.text : data };
}

const roundTrip = property(
  "what-was-written-is-read",
  fc.record({ answers: records, authorities: records }),
  ({ answers, authorities }) => {
    const message = decodeMessage(encoded(answers, authorities));
    assertEquals([message.id, message.type, message.rcode, message.truncated], [
      7,
      "response",
      "NOERROR",
      false,
    ]);
    assertEquals(message.questions, [{ name: NAME, type: "A", class: "IN" }]);
    assertEquals(message.answers.map(readable), answers);
    assertEquals(message.authorities.map(readable), authorities);
  },
);

const WORDS = [
  POINTER,
  "\xc0\xff",
  "\xff",
  "\0",
  "\0\0",
  "\x3f",
  "\x40",
  "\x01a",
  "\x07example",
  "\0\x01\0\x01",
  "\0\x10\0\x01",
  "\0\x0f",
  "\0\x29",
  "\xff\xff",
];
const TYPES = ["A", "AAAA", "MX", "TXT", "PTR", "CNAME", "NS", "SOA", "SRV", "TLSA"] as const;

/** A header with counts that may lie, and a body of fragments. */
const built = fc.tuple(
  fc.array(fc.nat(255), { minLength: 8, maxLength: 8 }),
  fc.array(fc.oneof(fc.constantFrom(...WORDS), binary(3)), { maxLength: 40 }),
)
  .map(([counts, parts]) => "\0\x07\x81\x80" + String.fromCharCode(...counts) + parts.join(""));
/** Thousands of records whose names all point back at one long name. */
const bomb = fc.tuple(fc.integer({ min: 1, max: 5_000 }), fc.integer({ min: 1, max: 60 })).map((
  [count, labels],
) =>
  `\0\x07\x81\x80\0\x01${String.fromCharCode(count >> 8, count & 255)}\0\0\0\0` + "\x01a".repeat(labels) +
  "\0\0\x10\0\x01" +
  `${POINTER}\0\x02\0\x01\0\0\0\x01\0\x02${POINTER}`.repeat(count)
);
const valid = fc.record({ answers: records, authorities: records, type: fc.constantFrom(...TYPES) }).map((
  { answers, authorities, type },
) => latin1Text(encoded(answers, authorities, type)));
const message = fc.oneof({ weight: 8, arbitrary: mutated(valid, WORDS) }, { weight: 4, arbitrary: built }, {
  weight: 2,
  arbitrary: binary(80),
}, { weight: 1, arbitrary: bomb });

const decoding = property("any-bytes-are-a-message-or-an-error", message, (text) => {
  let decoded: DnsMessage;
  try {
    decoded = decodeMessage(latin1(text));
  } catch (error) {
    assert(error instanceof Error);
    return;
  }
  assert(
    Number.isInteger(decoded.id) && ["query", "response"].includes(decoded.type) &&
      typeof decoded.rcode === "string",
  );
  assert(typeof decoded.truncated === "boolean" && typeof decoded.authenticData === "boolean");
  for (const { name, type } of [...decoded.questions, ...decoded.answers, ...decoded.authorities]) {
    assert(typeof name === "string" && typeof type === "string", "a record without name or type");
    assert(name.length <= 4 * 255, "a name that grew");
  }
});

const label = fc.tuple(
  fc.constantFrom("a", "A", "-", "_"),
  fc.oneof(fc.nat(5), fc.integer({ min: 60, max: 70 })),
).map(([char, length]) => char.repeat(length));
const labels = fc.array(label, { maxLength: 8 }).map((list) => list.join("."));

const names = property("a-name-fits-into-a-query", fc.oneof(labels, hostile), (text) => {
  const plain = dnsName(text);
  if (plain === null) return;
  assertEquals(dnsName(plain), plain);
  assertEquals(decodeMessage(encodeQuery(1, plain, "TXT", true)).questions, [{
    name: plain,
    type: "TXT",
    class: "IN",
  }]);
});

function checkValue(type: string, value: unknown): void {
  switch (type) {
    case "A":
    case "AAAA":
      return assertEquals(
        parseAddress(value as string)?.family,
        type === "A" || /^::ffff:[\d.]+$/i.test(value as string) ? 4 : 6,
      );
    case "MX": {
      const { exchange, priority } = value as { exchange: unknown; priority: unknown };
      return assert(typeof exchange === "string" && Number.isInteger(priority));
    }
    case "TXT":
      return assert(Array.isArray(value) && value.every((part) => typeof part === "string"));
    case "PTR":
    case "CNAME":
    case "NS":
      return assert(typeof value === "string");
  }
}

/** A name server that answers every query with these bytes, under the query's id and with its question. */
class Answerer {
  body = new Uint8Array(0);
  /** With the question as it was asked, or all of it made up. */
  honest = true;

  private constructor(private readonly socket: dgram.Socket) {
    socket.on("message", (query: Uint8Array, from: { address: string; port: number }) => {
      const answer = Buffer.concat([
        query.subarray(0, 2),
        this.honest ? this.#under(query) : this.body.subarray(2),
      ]);
      socket.send(answer, from.port, from.address);
    });
  }

  static async start(): Promise<Answerer> {
    const socket = dgram.createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
    return new Answerer(socket);
  }

  get address(): string {
    return `127.0.0.1:${this.socket.address().port}`;
  }

  /** Flags and counts from the body, one question from the query, then the body's records. */
  #under(query: Uint8Array): Uint8Array {
    const end = query.indexOf(0, HEADER_BYTES) + 5;
    const question = query.subarray(HEADER_BYTES, end);
    const head = Uint8Array.from(this.body.subarray(2, HEADER_BYTES));
    head.set([0, 1], 2);
    const own = this.body.indexOf(0, HEADER_BYTES) + 5;
    return Buffer.concat([head, question, this.body.subarray(own)]);
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.socket.close(() => resolve()));
  }
}

const resolving = (server: Answerer) =>
  property(
    "the-resolver-gives-values-or-a-dns-error",
    fc.record({ text: message, type: fc.constantFrom(...TYPES), honest: fc.boolean() }),
    async ({ text, type, honest }) => {
      Object.assign(server, { body: latin1(text.padEnd(HEADER_BYTES, "\0")), honest });
      const resolver = createResolver({
        servers: [server.address],
        timeoutMs: 20,
        clock: systemClock,
        hosts: "",
      });
      try {
        for (const value of await resolver.nodeStyle(NAME, type) as unknown[]) checkValue(type, value);
      } catch (error) {
        if (!(error instanceof DnsError)) throw error;
      }
      const name = await resolver.reverse("192.0.2.1");
      assert(name === null || typeof name === "string");
      resolver.close();
    },
  );

export async function open(): Promise<FuzzTarget> {
  const server = await Answerer.start();
  return { properties: [roundTrip, decoding, names, resolving(server)], close: () => server.close() };
}
