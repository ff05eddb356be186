/**
 * From a connection to a server that takes mail: greeting, EHLO (HELO for those that know no other, RFC 5321
 * 3.2), STARTTLS (RFC 3207) as far as it is wanted. Opportunistic TLS takes whatever certificate there is and goes
 * on without where it is not offered (RFC 7435); a handshake that fails is told as stage "tls", and the caller may
 * come once more without.
 */

import type { Clock } from "../../base/clock.ts";
import type { SmtpLimits } from "./limits.ts";
import type { Reply } from "./reply.ts";
import { type Answer, type Peer, remoteOf, Session, type Stage } from "./session.ts";
import type { Transcript } from "./transcript.ts";
import { abortedBy, Wire, WireError } from "./wire.ts";

/** `verified`: TLS with a certificate that is valid for the host's name, or nothing. */
export type TlsMode = "off" | "opportunistic" | "verified";

export interface OpenOptions {
  peer: Peer;
  /** What we call ourselves. */
  helo: string;
  tls: TlsMode;
  /** The host is an address: there is no name to ask for or to check. */
  literal: boolean;
  localAddress?: string | undefined;
  ca?: string[] | undefined;
  clock: Clock;
  limits: SmtpLimits;
  transcript: Transcript;
  signal: AbortSignal;
}

export type Opened =
  | { kind: "open"; session: Session }
  | Extract<Answer, { kind: "refused" | "broken" }>;

class Refused extends Error {
  constructor(readonly stage: Stage, readonly reply: Reply) {
    super("refused");
  }
}

/** Never rejects for anything the server does. */
export function openSession(options: OpenOptions): Promise<Opened> {
  return new Opening(options).run();
}

class Opening {
  readonly #options: OpenOptions;
  #stage: Stage = "connect";
  #wire: Wire | null = null;

  constructor(options: OpenOptions) {
    this.#options = options;
  }

  async run(): Promise<Opened> {
    const { signal } = this.#options;
    const abort = () => void this.#wire?.fail(abortedBy(signal));
    signal.addEventListener("abort", abort, { once: true });
    try {
      return { kind: "open", session: await this.#open() };
    } catch (error) {
      await this.#wire?.close();
      if (error instanceof Refused) return { kind: "refused", stage: error.stage, reply: error.reply };
      if (!(error instanceof WireError)) throw error;
      this.#options.transcript.note(error.message);
      return { kind: "broken", stage: this.#stage, error, sent: false };
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  async #open(): Promise<Session> {
    const { peer, localAddress, clock, limits, transcript, signal, tls } = this.#options;
    transcript.note(`connecting to ${remoteOf(peer)}`);
    const { address, port } = peer;
    const target = { address, port, localAddress };
    const wire = this.#wire = await Wire.connect(target, clock, transcript, limits.connectMs, signal);
    if (signal.aborted) throw wire.fail(abortedBy(signal));
    this.#stage = "greeting";
    const greeting = await wire.reply(limits.greetingMs);
    if (greeting.code !== 220) throw new Refused("greeting", greeting);
    let keywords = await this.#hello(wire);
    if (tls !== "off") keywords = await this.#startTls(wire, keywords);
    return new Session(peer, wire, limits, keywords, tls === "verified");
  }

  async #command(wire: Wire, line: string): Promise<Reply> {
    const { limits } = this.#options;
    const unasked = wire.unasked();
    if (unasked?.code === 421) throw new Refused(this.#stage, unasked);
    if (!wire.silent) throw wire.fail(new WireError("garbage", "the server talks out of turn"));
    await wire.send([line], limits.helloMs);
    return await wire.reply(limits.helloMs);
  }

  /** The keywords of EHLO; none after HELO. */
  async #hello(wire: Wire): Promise<Map<string, string>> {
    if (this.#stage === "greeting") this.#stage = "ehlo";
    const { helo } = this.#options;
    const extended = await this.#command(wire, `EHLO ${helo}`);
    if (extended.code === 250) return keywordsOf(extended);
    if (extended.code < 500 || extended.code > 599) throw new Refused(this.#stage, extended);
    const plain = await this.#command(wire, `HELO ${helo}`);
    if (plain.code !== 250) throw new Refused(this.#stage, plain);
    return new Map();
  }

  async #startTls(wire: Wire, keywords: Map<string, string>): Promise<Map<string, string>> {
    const { tls, peer, literal, ca, limits, transcript } = this.#options;
    const verify = tls === "verified";
    const missing = () => wire.fail(new WireError("tls", "the server does not offer TLS"));
    if (!keywords.has("STARTTLS") && !verify) return keywords;
    this.#stage = "tls";
    if (!keywords.has("STARTTLS")) throw missing();
    const reply = await this.#command(wire, "STARTTLS");
    if (reply.code === 421) throw new Refused("ehlo", reply);
    if (reply.code !== 220) {
      // It can't now (454), or not at all: RFC 3207 4 leaves it to us, and in the clear is what there was before.
      if (verify) throw missing();
      this.#stage = "ehlo";
      return keywords;
    }
    await wire.secure({ servername: literal ? null : peer.host, verify, ca }, limits.handshakeMs);
    transcript.note(`${wire.tls}${verify ? `, certificate valid for ${peer.host}` : ""}`);
    // RFC 3207 4.2: what was said before in the clear counts no more.
    return await this.#hello(wire);
  }
}

/** RFC 5321 4.1.1.1: the first line is a greeting, then a keyword and its parameters each. */
function keywordsOf(reply: Reply): Map<string, string> {
  const keywords = new Map<string, string>();
  for (const text of reply.texts.slice(1)) {
    const [, keyword = "", parameters = ""] = /^([A-Za-z0-9][A-Za-z0-9-]*)[ =]?(.*)$/s.exec(text) ?? [];
    if (keyword !== "" && !keywords.has(keyword.toUpperCase())) {
      keywords.set(keyword.toUpperCase(), parameters.trim());
    }
  }
  return keywords;
}
