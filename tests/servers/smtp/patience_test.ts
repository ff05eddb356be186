/**
 * What a session is ended for and what counts towards a ban when mail after mail is refused: nothing that an honest
 * server says then, pipelined or not; and that this is no cover for floods. Here one point would be a ban.
 */

import { assertEquals, assertMatch } from "@std/assert";
import { refuse } from "../../../src/base/errors.ts";
import type { SmtpConversation } from "../../support/smtp_conversation.ts";
import { test } from "../../support/test.ts";
import { FakeFlow } from "./fake_flow.ts";
import { type Harness, type HarnessOptions, withDoor } from "./harness.ts";

const STRICT = {
  connection_allowlist: [],
  ban_threshold: 1,
  proxy_listen: ["127.0.0.1:0"],
  lmtp_listen: ["127.0.0.1:0"],
};
const CLIENT = "127.0.0.2";

/** What is sent without a pause between, and the codes of the replies. */
type Step = [bytes: string, codes: string];

const MAIL = "MAIL FROM:<a@sender.example>\r\n";
const KNOWN = `${MAIL}RCPT TO:<bob@example.com>\r\nDATA\r\n`;
const UNKNOWN: Step = [`${MAIL}RCPT TO:<nobody@example.com>\r\nDATA\r\n`, "250 550 503"];
const RSET: Step = ["RSET\r\n", "250"];
const BODY = "Subject: x\r\n\r\n.\r\n";
const GOOD: Step[] = [[KNOWN, "250 250 354"], [BODY, "250"]];

async function greeted(h: Harness, kind: "smtp" | "proxy" | "lmtp" = "smtp"): Promise<SmtpConversation> {
  const client = await h.connect(kind, kind === "smtp" ? CLIENT : undefined);
  await client.expect(/^220 /);
  await client.command(`${kind === "lmtp" ? "LHLO" : "EHLO"} client.example`, /^250/);
  return client;
}

async function play(client: SmtpConversation, steps: Step[], times = 1): Promise<void> {
  for (let mail = 1; mail <= times; mail++) {
    for (const [bytes, codes] of steps) {
      client.send(bytes);
      for (const code of codes.split(" ")) assertMatch(await client.reply(), RegExp(`^${code}[ -]`));
    }
  }
}

function withFlow(set: (flow: FakeFlow) => void): FakeFlow {
  const flow = new FakeFlow();
  set(flow);
  return flow;
}
const full = () => ({ flow: withFlow((flow) => flow.storage = refuse("storage_full")) });
const policy = () => ({
  flow: withFlow((flow) => {
    flow.onReceive = () => Promise.resolve({ kind: "refused", refusal: refuse("dmarc_fail") });
  }),
});
const tlsRequired = () => ({ config: { starttls_required: true } });

const HONEST: [name: string, mails: number, steps: Step[], set?: () => HarnessOptions][] = [
  ["unknown recipients, pipelined", 90, [UNKNOWN, RSET]],
  ["unknown recipients and a RSET before and after each", 90, [RSET, UNKNOWN, RSET]],
  ["unknown recipients and a hello for each", 90, [UNKNOWN, ["EHLO client.example\r\n", "250"]]],
  ["unknown recipients among good mail", 90, [UNKNOWN, RSET, ...GOOD]],
  ["a full disk, pipelined", 120, [[KNOWN, "452 503 503"], RSET], full],
  ["a full disk, pipelined without RSET", 120, [[KNOWN, "452 503 503"]], full],
  ["a full disk, one command at a time", 120, [[MAIL, "452"], RSET], full],
  ["mail that is too large, pipelined", 120, [
    [KNOWN.replace(">", "> SIZE=99999999"), "552 503 503"],
    RSET,
  ]],
  ["missing TLS, pipelined", 120, [[KNOWN, "530 530 530"], ["RSET\r\n", "530"]], tlsRequired],
  ["missing TLS, one command at a time", 120, [[MAIL, "530"], ["RSET\r\n", "530"]], tlsRequired],
  ["a policy after the data", 120, [[KNOWN, "250 250 354"], [BODY, "550"], RSET], policy],
  ["a mistake now and then among good mail", 120, [["XYZZY\r\nNOOP\r\n", "500 250"], ...GOOD]],
];

for (const [name, mails, steps, set] of HONEST) {
  test(`no point and no end of the session for ${name}`, () => {
    const options = set?.() ?? {};
    return withDoor({ ...options, config: { ...STRICT, ...options.config } }, async (h) => {
      for (let session = 0; session < 4; session++) {
        const client = await greeted(h);
        await play(client, steps, mails);
        await client.command("QUIT", /^221 /);
      }
      assertEquals(h.bans.size, 0);
    });
  });
}

test("behind the filter it is no fault of the client's nor of Postfix's, and LMTP goes on too", () =>
  withDoor({ config: STRICT }, async (h) => {
    const client: Step = ["XFORWARD ADDR=192.0.2.1\r\n", "250"];
    const postfix = await greeted(h, "proxy");
    await play(postfix, [client, UNKNOWN, RSET], 30);
    const queue = await greeted(h, "lmtp");
    await play(queue, [UNKNOWN, RSET], 30);
    h.flow.storage = refuse("storage_full");
    for (const peer of [postfix, queue]) await play(peer, [client, [KNOWN, "452 503 503"], RSET], 120);
    h.flow.storage = null;
    assertEquals(h.bans.size, 0);
    // Who is banned for good hears 554 at each MAIL, and so do the commands behind it.
    await h.bans.add("192.0.2.1/32", { reason: null, durationMs: null });
    await play(postfix, [client, [KNOWN, "554 503 503"], RSET], 30);
    await play(postfix, [["XFORWARD ADDR=192.0.2.2\r\n", "250"], ...GOOD]);
    await play(queue, GOOD);
    assertEquals(h.bans.size, 1);
  }));

const TOO_LARGE = MAIL.replace(">", "> SIZE=99999999");
const ERRORS = "421 4.7.0 Too many errors";
const JUNK = "421 4.7.0 Too many commands without a mail";

const FLOODS: [
  name: string,
  first: string,
  again: string,
  answered: number,
  last: string,
  points: string[],
][] = [
  ["RCPT without MAIL", "", "RCPT TO:<bob@example.com>\r\n", 15, ERRORS, ["too_many_errors"]],
  // A MAIL that is wrong in itself excuses nothing: each RCPT behind it is a fault as well.
  ["broken MAIL", "", "MAIL FROM:a\r\nRCPT TO:<bob@example.com>\r\n", 15, ERRORS, ["too_many_errors"]],
  ["wrong commands after a refused MAIL", TOO_LARGE, "XYZZY\r\n", 16, ERRORS, ["too_many_errors"]],
  ["mails begun and dropped among refused ones", "", TOO_LARGE + MAIL + "RSET\r\n", 302, JUNK, [
    "too_many_junk",
  ]],
  ["RSET after a refused MAIL", TOO_LARGE, "RSET\r\n", 102, JUNK, ["too_many_junk"]],
  ["NOOP after a refused recipient", `${MAIL}RCPT TO:<nobody@example.com>\r\n`, "NOOP\r\n", 102, JUNK, [
    "too_many_junk",
  ]],
  [
    "RCPT after a refused MAIL",
    TOO_LARGE,
    "RCPT TO:<bob@example.com>\r\n",
    1_000,
    "421 4.7.0 Too many refused mails",
    [],
  ],
  ["MAIL that is refused", "", TOO_LARGE, 1_000, "421 4.7.0 Too many refused mails", []],
  [
    "guessed recipients",
    MAIL,
    "RCPT TO:<nobody@example.com>\r\n",
    101,
    "421 4.7.0 Too many refused recipients",
    [],
  ],
];

for (const [name, first, again, answered, last, points] of FLOODS) {
  test(`a flood of ${name} still ends with "${last}"`, () =>
    withDoor({ config: STRICT }, async (h) => {
      const client = await greeted(h);
      client.send(first + again.repeat(1_100));
      const heard = (await client.expectClosed()).trimEnd().split("\r\n");
      assertEquals([heard.length - 1, heard.at(-1)], [answered, last]);
      assertEquals(h.bans.find(CLIENT)?.evidence.map(({ violation }) => violation) ?? [], points);
    }));
}

test("DATA is excused once for each refused transaction, and a flood of it is one of wrong commands", () =>
  withDoor({ config: STRICT }, async (h) => {
    for (const open of [UNKNOWN, [TOO_LARGE + "DATA\r\n", "552 503"]] satisfies Step[]) {
      const client = await greeted(h);
      await play(client, [open]);
      await play(client, [["DATA\r\n", "503"]], 15);
      await client.command("DATA", /^421 4\.7\.0 Too many errors/);
      assertEquals(h.bans.find(CLIENT)?.evidence.map(({ violation }) => violation), ["too_many_errors"]);
      await h.bans.remove(`${CLIENT}/32`);
    }
  }));

test("relay attempts count as before, DATA behind them or not", () =>
  withDoor({ config: { ...STRICT, ban_threshold: 5 } }, async (h) => {
    const client = await greeted(h);
    const relay: Step = [`${MAIL}RCPT TO:<v@victim.example>\r\nDATA\r\n`, "250 550 503"];
    await play(client, [relay, RSET], 4);
    assertEquals(h.bans.size, 0);
    client.send(relay[0]);
    assertMatch(await client.expectClosed(), /421 4\.7\.0 Too much abuse/);
    assertEquals(
      h.bans.find(CLIENT)?.evidence.map(({ violation }) => violation),
      Array(5).fill("relay_denied"),
    );
  }));
