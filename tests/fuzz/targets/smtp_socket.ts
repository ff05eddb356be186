/**
 * The three SMTP doors with their sockets and TLS: the same dialogues as in the target `smtp`, over a connection. The
 * conversation without a socket is the oracle, so whatever socket, TLS and door add has to be invisible.
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import net from "node:net";
import tls from "node:tls";
import type { DoorKind } from "../../../src/servers/smtp/dialogue.ts";
import { FakeFlow } from "../../servers/smtp/fake_flow.ts";
import { type Harness, withDoor } from "../../servers/smtp/harness.ts";
import { Recorder } from "../../servers/smtp/recorder.ts";
import { withTempDir } from "../../support/test.ts";
import { binary, cutAt, cuts, latin1, latin1Text, soup } from "../arbitraries.ts";
import { type FuzzTarget, property } from "../property.ts";
import { input, LIMITS, MESSAGE_BYTES_MAX, turnsOf, until } from "./smtp.ts";

/** What waits is more than a line, as it is in earnest: else a part of one would keep the rest from coming. */
const SOCKET_LIMITS = { ...LIMITS, bufferedBytesMax: 2 * LIMITS.lineBytesMax };
const CONFIG = { max_message_size: MESSAGE_BYTES_MAX, max_recipients: 3 };

/** What one dialogue does must not be held against the next: all clients that XFORWARD names are the same few. */
const NO_BANS = { ban_threshold: Number.MAX_SAFE_INTEGER };

/** One answer for each turn, the greeting first. */
interface Expected {
  said: string[];
  /** The turns behind which the client shakes hands. */
  secured: boolean[];
  closed: boolean;
  mails: unknown[];
}

/** The version, cipher and ids are the library's and the clock's. */
const mailsOf = (flow: FakeFlow) =>
  flow.mails.map(({ raw, submission: { protocol, envelope, connection } }) => ({
    raw: latin1Text(raw),
    protocol,
    envelope,
    connection: { ...connection, tls: connection.tls !== null },
  }));

async function expected(kind: DoorKind, turns: readonly string[]): Promise<Expected> {
  const peer = { address: "127.0.0.1", allowlisted: true, mayForward: kind !== "smtp" };
  const recorder = new Recorder({ kind, peer, limits: SOCKET_LIMITS, config: CONFIG, tlsOffered: true });
  recorder.conversation.greet();
  const said = [recorder.taken()];
  const secured = [];
  for (const turn of turns) {
    recorder.conversation.feed(latin1(turn));
    await until(recorder);
    secured.push(recorder.conversation.phase === "tls");
    if (secured.at(-1)) recorder.conversation.secured({ version: "x", cipher: "y" });
    said.push(recorder.taken());
  }
  return { said, secured, closed: recorder.closed, mails: mailsOf(recorder.flow) };
}

/** A client that hears everything, and says what it is told to in the pieces it is told to. */
class Client {
  heard = "";
  #socket: net.Socket;
  #closed = false;
  #changed = Promise.withResolvers<void>();

  constructor(address: string) {
    const port = Number(address.slice(address.lastIndexOf(":") + 1));
    this.#socket = this.#listen(net.connect(port, "127.0.0.1"));
    this.#socket.setNoDelay(true);
  }

  #listen<S extends net.Socket>(socket: S): S {
    const changed = () => {
      this.#changed.resolve();
      this.#changed = Promise.withResolvers<void>();
    };
    socket.on("data", (data: Uint8Array) => {
      this.heard += latin1Text(data);
      changed();
    });
    socket.on("error", () => {
      // Some of these dialogues end so; what was heard before it counts.
    });
    socket.on("close", () => {
      this.#closed = true;
      changed();
    });
    return socket;
  }

  /** So many characters, or the end. */
  async hear(length: number): Promise<void> {
    while (this.heard.length < length && !this.#closed) await this.#changed.promise;
  }

  async end(): Promise<void> {
    while (!this.#closed) await this.#changed.promise;
  }

  async say(text: string, places: readonly number[]): Promise<void> {
    for (const piece of cutAt(latin1(text), places)) {
      if (this.#closed) return;
      // An empty write over TLS is the end of Deno's stream.
      if (piece.length === 0) continue;
      this.#socket.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async shakeHands(): Promise<void> {
    const plain = this.#socket;
    plain.removeAllListeners("data").removeAllListeners("close");
    const secure = tls.connect({ socket: plain, rejectUnauthorized: false });
    await new Promise<void>((resolve, reject) => {
      secure.once("secureConnect", resolve).once("error", reject);
      secure.once("close", () => reject(new Error("Cannot finish the handshake: connection closed")));
    });
    this.#socket = this.#listen(secure);
  }

  leave(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

const addressOf = (h: Harness, kind: DoorKind) =>
  h.listeners.find((listener) => listener.kind === kind)!.address!;
const kind = fc.constantFrom<DoorKind>("smtp", "proxy", "lmtp");

/** A STARTTLS early on, or few would ever get to one. */
const secureInput = fc.tuple(fc.constantFrom("", "EHLO a\r\nSTARTTLS\r\n", "LHLO a\r\nSTARTTLS\r\n"), input)
  .map(
    (parts) => parts.join(""),
  );

const sameAnswers = (h: Harness) =>
  property(
    "socket-and-tls-change-nothing",
    fc.record({ kind, input: secureInput, cuts }),
    async ({ kind, input, cuts }) => {
      const turns = turnsOf(input);
      const wanted = await expected(kind, turns);
      h.flow.mails = [];
      const client = new Client(addressOf(h, kind));
      try {
        let length = wanted.said[0]!.length;
        await client.hear(length);
        for (const [i, turn] of turns.entries()) {
          await client.say(turn, cuts);
          length += wanted.said[i + 1]!.length;
          await client.hear(length);
          if (wanted.secured[i]) await client.shakeHands();
        }
        if (!wanted.closed) client.leave();
        await client.end();
        assertEquals(client.heard, wanted.said.join(""));
        assertEquals(mailsOf(h.flow), wanted.mails);
      } finally {
        client.destroy();
      }
    },
  );

const HELLO_WORDS = [
  "\x16\x03\x01",
  "\x16\x03\x03\x00\x05",
  "\x01\x00",
  "\x80\x2e\x01",
  "\x15\x03\x01\x00\x02\x02\x28",
  "\x00",
  "EHLO a\r\n",
  "\xff",
];

const noHandshake = (h: Harness) =>
  property(
    "a-broken-handshake-ends-its-own-session-alone",
    fc.record({
      junk: fc.oneof(soup(HELLO_WORDS, 12), binary(60)),
      cuts,
      goes: fc.constantFrom("leave", "destroy"),
    }),
    async ({ junk, cuts, goes }) => {
      const hello = "EHLO a\r\n";
      const { said } = await expected("smtp", [hello, "STARTTLS\r\n"]);
      const client = new Client(addressOf(h, "smtp"));
      try {
        await client.say(hello, []);
        await client.hear(said[0]!.length + said[1]!.length);
        await client.say("STARTTLS\r\n", []);
        await client.hear(said.join("").length);
        await client.say(junk, cuts);
        if (goes === "destroy") client.destroy();
        else client.leave();
        await client.end();
        // An alert may come, and never a line in the clear.
        assert(client.heard.startsWith(said.join("")));
        assert(!/^\d{3}/.test(client.heard.slice(said.join("").length)), client.heard);
      } finally {
        client.destroy();
      }
      // Another one is served as ever.
      const other = new Client(addressOf(h, "smtp"));
      await other.hear(said[0]!.length);
      await other.say("QUIT\r\n", []);
      await other.end();
      assert(other.heard.startsWith(`${said[0]}221 `), other.heard);
    },
  );

export async function open(): Promise<FuzzTarget> {
  const opened = Promise.withResolvers<Harness>();
  const closing = Promise.withResolvers<void>();
  const closed = withTempDir((dir) =>
    withDoor({
      flow: new FakeFlow(),
      limits: SOCKET_LIMITS,
      config: {
        ...NO_BANS,
        ...CONFIG,
        ...{ tls_enabled: true, starttls_enabled: true, data_dir: dir },
        ...{ proxy_listen: ["127.0.0.1:0"], lmtp_listen: ["127.0.0.1:0"] },
      },
    }, async (h) => {
      opened.resolve(h);
      await closing.promise;
    })
  );
  closed.catch(opened.reject);
  const h = await opened.promise;
  return {
    properties: [sameAnswers(h), noHandshake(h)],
    async close() {
      closing.resolve();
      await closed;
    },
  };
}
