/**
 * The conversation without its socket: dialogues from the words of the protocol, well-formed ones that were
 * mutated, at every door and in every fragmentation. Input is handed over as a client may send it: what follows
 * DATA, BDAT or STARTTLS waits for the answer, because there the packets do count (RFC 2920 3.1).
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { StoreError } from "../../../src/base/errors.ts";
import type { DoorKind } from "../../../src/servers/smtp/dialogue.ts";
import { FakeFlow } from "../../servers/smtp/fake_flow.ts";
import { Recorder, type RecorderOptions } from "../../servers/smtp/recorder.ts";
import { cutAt, cuts, eachByte, latin1, latin1Text, mutated, repeated, soup } from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";
import { dialogue, openedSoup, unstuffed, WORDS } from "./smtp_dialogues.ts";

/** Small, so that a short input gets over each of them. */
export const LIMITS = {
  commandBytesMax: 128,
  lineBytesMax: 400,
  headerBytesMax: 80,
  headerLinesMax: 8,
  errorsMax: 6,
  junkMax: 6,
  refusedCommandsMax: 6,
  rcptFailuresMax: 3,
  messagesMax: 3,
  bufferedBytesMax: 64,
  swallowFactor: 2,
};
export const MESSAGE_BYTES_MAX = 120;
const TURNS_MAX = 1_000;

type Play = Omit<RecorderOptions, "flow"> & { cut: (bytes: Uint8Array) => Uint8Array[]; slowDisk?: boolean };

interface Played {
  recorder: Recorder;
  out: string;
}

/** The bytes up to and with each line that must be answered before more is sent. */
export function turnsOf(input: string): string[] {
  return input.match(/(?:[^\n]|\n)*?(?:data|bdat|starttls)[^\n]*\n|[^]+$/gi) ?? [];
}

export async function until(recorder: Recorder): Promise<void> {
  for (let i = 0; recorder.conversation.waiting; i++) {
    assert(i < TURNS_MAX, "waits for ever");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function play(
  input: string,
  { cut, slowDisk, ...options }: Play,
  flow = new FakeFlow(),
): Promise<Played> {
  if (slowDisk) flow.onWrite = () => new Promise((resolve) => setImmediate(resolve));
  const recorder = new Recorder({
    limits: LIMITS,
    config: { max_message_size: MESSAGE_BYTES_MAX, max_recipients: 3 },
    ...options,
    flow,
  });
  recorder.conversation.greet();
  for (const turn of turnsOf(input)) {
    for (const piece of cut(latin1(turn))) recorder.conversation.feed(piece);
    await until(recorder);
    if (recorder.conversation.phase === "tls") recorder.conversation.secured({ version: "x", cipher: "y" });
  }
  return { recorder, out: recorder.out };
}

const count = (text: string, part: RegExp) => [...text.matchAll(part)].length;
/** With overlaps: the line end of one may open the next. */
const ends = (input: string) => count("\r\n" + input, /\r\n(?=\.\r\n)/g);

/** What must hold whatever was said. */
function checkSafe(input: string, { recorder, out }: Played): void {
  const { mails } = recorder.flow;
  assertMatch(out, /^(?:\d{3}(?:-[\x20-\x7e]*\r\n\d{3})*(?: [\x20-\x7e]*)?\r\n)*$/);
  assert(mails.length <= ends(input), "a mail without its end");
  for (const { raw, submission } of mails) {
    assert(!/\r(?!\n)|(?<!\r)\n/.test(latin1Text(raw)), "a bare newline was stored");
    assert(raw.length <= MESSAGE_BYTES_MAX, "more than max_message_size was stored");
    const { recipients, mailFrom } = submission.envelope;
    assert(recipients.length > 0 && new Set(recipients).size === recipients.length);
    for (const address of [mailFrom, ...recipients]) {
      assert(!/[\p{Cc}<>]/u.test(address.replace(/"[^]*"/, "")));
    }
  }
}

const kind = fc.constantFrom<DoorKind>("smtp", "smtp", "proxy", "lmtp");
const session = fc.record({
  kind,
  tlsOffered: fc.boolean(),
  mayForward: fc.boolean(),
  slowDisk: fc.boolean(),
});
type Session = typeof session extends fc.Arbitrary<infer T> ? T : never;
const optionsOf = ({ mayForward, ...rest }: Session) => ({ ...rest, peer: { mayForward } });
export const input = fc.oneof(
  soup(WORDS, 40),
  openedSoup,
  dialogue,
  mutated(dialogue, WORDS),
  mutated(dialogue, WORDS),
);

const told = ({ recorder, out }: Played) => ({
  out,
  closed: recorder.closed,
  notes: recorder.notes,
  refused: recorder.refused,
  mails: recorder.flow.mails.map(({ raw, submission: { protocol, envelope, connection } }) => ({
    raw: latin1Text(raw),
    protocol,
    envelope,
    connection,
  })),
});

const fragmentation = property(
  "fragmentation-changes-nothing",
  fc.record({ input, session, cuts }),
  async ({ input, session, cuts }) => {
    const options = optionsOf(session);
    const whole = await play(input, { ...options, cut: (bytes) => [bytes] });
    checkSafe(input, whole);
    assertEquals(whole.recorder.failures, []);
    const { mails } = whole.recorder.flow;
    for (const i of mails.keys()) {
      assert(whole.out.includes(`queued as M${i + 1}\r\n`), "stored and not told");
    }
    const cut = (bytes: Uint8Array) => cutAt(bytes, cuts);
    assertEquals(told(await play(input, { ...options, cut })), told(whole));
    const slowDisk = !session.slowDisk;
    assertEquals(told(await play(input, { ...options, slowDisk, cut: eachByte })), told(whole));
  },
);

const BODY_WORDS = [
  "\r\n",
  "\r",
  "\n",
  ".",
  "..",
  "\r\n.",
  "\r\n\r\n",
  ".\r\n",
  "text",
  "A: b\r\n",
  "\0",
  "\xff",
];

const unstuffing = property(
  "stored-is-what-was-meant",
  fc.record({ body: soup(BODY_WORDS), cuts, kind, recipients: fc.integer({ min: 1, max: 3 }) }),
  async ({ body, cuts, kind, recipients }) => {
    const hello = kind === "lmtp" ? "LHLO a" : "EHLO a";
    const rcpts = Array.from({ length: recipients }, (_, i) => `RCPT TO:<b${i}@example.com>\r\n`).join("");
    const opening = `${hello}\r\nMAIL FROM:<>\r\n${rcpts}DATA\r\n`;
    const sent = body + "\r\n.\r\n";
    const message = sent.slice(0, ("\r\n" + sent).indexOf("\r\n.\r\n"));
    // What the body itself ends is followed by commands, which are another property's.
    const { recorder, out } = await play(opening + message + ".\r\n", {
      kind,
      cut: (bytes) => cutAt(bytes, cuts),
      limits: {},
      config: {},
    });
    const answers = out.slice(out.indexOf("354 ")).split("\r\n").slice(1, -1);
    assertEquals(answers.length, kind === "lmtp" ? recipients : 1);
    const bare = /\r(?!\n)|(?<!\r)\n/.test(message);
    for (const answer of answers) assertMatch(answer, bare ? /^550 5\.5\.2 / : /^250 2\.0\.0 /);
    assertEquals(recorder.flow.mails.map(({ raw }) => latin1Text(raw)), bare ? [] : [unstuffed(message)]);
  },
);

const said = fc.constantFrom("", "ADDR=192.0.2.1", "ADDR=192.0.2.2", "ADDR=[UNAVAILABLE]", "HELO=x");
const ending = fc.constantFrom(
  "DATA\r\nA: b\r\n.\r\n",
  "RSET\r\n",
  "DATA\r\nA\nb\r\n.\r\n",
  "EHLO b\r\nLHLO b\r\n",
);
const opening = fc.constantFrom("MAIL FROM:<>\r\n", "MAIL FROM:<bad\r\n");

const forwarding = property(
  "what-xforward-says-is-about-one-mail",
  fc.record({
    kind: fc.constantFrom<DoorKind>("proxy", "lmtp"),
    mails: fc.array(fc.record({ said, opening, ending }), { minLength: 1, maxLength: 5 }),
    cuts,
  }),
  async ({ kind, mails, cuts }) => {
    const texts = mails.map(({ said, opening, ending }) =>
      `${said && `XFORWARD ${said}\r\n`}${opening}RCPT TO:<bob@example.com>\r\n${ending}RSET\r\n`
    );
    const options = { kind, peer: { mayForward: true }, limits: { errorsMax: 1_000 }, config: {} };
    const cut = (bytes: Uint8Array) => cutAt(bytes, cuts);
    const { recorder } = await play(`EHLO a\r\nLHLO a\r\n${texts.join("")}`, { ...options, cut });
    const good = mails.filter(({ opening, ending }) => opening.includes("<>") && ending.includes("A: b"));
    assertEquals(
      recorder.flow.mails.map(({ submission: { connection } }) => connection.client_address),
      good.map(({ said }) => /ADDR=([\d.]+)/.exec(said)?.[1] ?? null),
    );
  },
);

const cutOff = property(
  "a-lost-connection-leaves-nothing-open",
  fc.record({ input: dialogue, at: fc.nat(), session, gently: fc.boolean() }),
  async ({ input, at, session, gently }) => {
    const heard = input.slice(0, at % (input.length + 1));
    const played = await play(heard, { ...optionsOf(session), cut: (bytes) => [bytes] });
    if (gently) played.recorder.conversation.end();
    else played.recorder.conversation.lost();
    await until(played.recorder);
    checkSafe(heard, { ...played, out: played.recorder.out });
    assertEquals(played.recorder.conversation.phase, "closed");
    for (const { aborted, finished } of played.recorder.flow.spools) {
      assert(aborted || finished, "spool left open");
    }
  },
);

const impatience = property(
  "who-does-not-wait-gains-nothing",
  fc.record({
    input,
    session,
    cuts,
    injected: fc.constantFrom("", "QUI", "RSET\r\n", "MAIL FROM:<x@y.example>\r\n"),
  }),
  async ({ input, session, cuts, injected }) => {
    // Everything at once, and behind each STARTTLS what somebody on the way would like to be heard inside TLS.
    const sent = input.replace(/^starttls\r\n/gim, (line) => line + injected);
    const recorder = new Recorder({
      ...optionsOf(session),
      limits: LIMITS,
      config: { max_message_size: MESSAGE_BYTES_MAX, max_recipients: 3 },
    });
    if (session.slowDisk) recorder.flow.onWrite = () => new Promise((resolve) => setImmediate(resolve));
    const { conversation } = recorder;
    conversation.greet();
    for (const piece of cutAt(latin1(sent), cuts)) {
      conversation.feed(piece);
      if (conversation.phase !== "tls") continue;
      // Up to here everything was answered; of what came behind it nothing is, before TLS or in it.
      const answered = recorder.out;
      conversation.feed(latin1(injected));
      conversation.secured({ version: "x", cipher: "y" });
      assertEquals([recorder.out, recorder.dialogue.mail, conversation.phase], [answered, null, "command"]);
      conversation.feed(latin1("NOOP\r\n"));
      assertMatch(
        recorder.out.slice(answered.length),
        /^(?:250|421) [^\r\n]*\r\n$/,
        "more than what was asked in TLS",
      );
    }
    await until(recorder);
    checkSafe(sent, { recorder, out: recorder.out });
    conversation.end();
    await until(recorder);
    assertEquals(conversation.phase, "closed");
    assert(recorder.flow.spools.every(({ aborted, finished }) => aborted || finished), "spool left open");
  },
);

const fault = fc.constantFrom("spool", "write", "write later", "finish", "receive", "receive throws");

/** A flow that goes wrong in these ways, each time. */
function faulty(faults: readonly string[]): FakeFlow {
  const flow = new FakeFlow();
  const fail = () => Promise.reject(new StoreError("Cannot write: full", true));
  if (faults.includes("spool")) {
    flow.spool = () => {
      throw new StoreError("Cannot spool: no room", true);
    };
  }
  if (faults.includes("write")) {
    flow.onWrite = () => {
      throw new Error("Cannot write: EIO");
    };
  }
  if (faults.includes("write later")) flow.onWrite = fail;
  if (faults.includes("finish")) flow.onFinish = fail;
  if (faults.includes("receive")) flow.onReceive = fail;
  if (faults.includes("receive throws")) {
    flow.receive = () => {
      throw new Error("Cannot receive: a bug");
    };
  }
  return flow;
}

const faults = property(
  "a-failing-store-is-never-a-yes",
  fc.record({ input, session, faults: fc.array(fault, { minLength: 1, maxLength: 3 }), cuts }),
  async ({ input, session, faults, cuts }) => {
    const cut = (bytes: Uint8Array) => cutAt(bytes, cuts);
    const played = await play(input, { ...optionsOf(session), slowDisk: false, cut }, faulty(faults));
    checkSafe(input, played);
    // An empty mail writes nothing, so a broken write does not hurt it.
    const { mails } = played.recorder.flow;
    assertEquals(mails.filter(({ raw }) => raw.length > 0), []);
    const yes = new Set(played.out.match(/queued as \w+/g));
    assertEquals(yes.size, mails.length);
  },
);

const large = largeProperty(
  "a-long-dialogue-ends",
  fc.record({ input: repeated(WORDS, 200_000), session, opened: fc.boolean(), cuts }),
  async ({ input, session, opened, cuts }) => {
    const opening = opened ? "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n" : "";
    const cut = (bytes: Uint8Array) => bytes.length > 5_000 ? cutAt(bytes, cuts) : eachByte(bytes);
    checkSafe(opening + input, await play(opening + input, { ...optionsOf(session), cut }));
  },
);

export function open(): FuzzTarget {
  return { properties: [fragmentation, unstuffing, forwarding, cutOff, impatience, faults, large] };
}
