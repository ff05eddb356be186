/** The sink that other tests rely on: it takes what it should, refuses by its script, and leaves nothing open. */

import { assertEquals, assertMatch } from "@std/assert";
import { closing, deferring, MailSink, refusing, silentAfterDot, type SinkOptions } from "./mail_sink.ts";
import { hasSmtpSink, SmtpSink } from "./smtp_sink.ts";
import { SmtpConversation } from "./smtp_conversation.ts";
import { test, testIf } from "./test.ts";
import { until } from "./until.ts";

async function withSink(
  options: SinkOptions,
  fn: (sink: MailSink, connect: () => Promise<SmtpConversation>) => Promise<void>,
): Promise<void> {
  const sink = await MailSink.start(options);
  const open: SmtpConversation[] = [];
  try {
    await fn(sink, async () => {
      open.push(await SmtpConversation.connect(sink.port));
      return open.at(-1)!;
    });
  } finally {
    await sink.close();
    for (const conversation of open) await conversation.close();
  }
}

const text = (bytes: Uint8Array | undefined) => new TextDecoder("latin1").decode(bytes);

/** A greeted client. */
async function greeted(connect: () => Promise<SmtpConversation>): Promise<SmtpConversation> {
  const client = await connect();
  await client.expect(/^220 /);
  await client.command("EHLO test.example", /250 ENHANCEDSTATUSCODES$/);
  return client;
}

test("The sink takes pipelined mail, answers in order, and keeps it as it was before the dots", () =>
  withSink({ keep: true }, async (sink, connect) => {
    const client = await greeted(connect);
    client.send(
      'MAIL FROM:<> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<a@x.example>\r\nRCPT TO:<"b>"@x.example>\r\nDATA\r\n',
    );
    for (const code of [/^250 2\.1\.0/, /^250 2\.1\.5/, /^250 2\.1\.5/, /^354/]) await client.expect(code);
    client.send("..first\r\n.\r.\r\nb\n.\nc\r\n..\r\n\xff\r\n.\r\nMAIL FROM:<j\u00fc@x.example>\r\n");
    await client.expect(/^250 2\.0\.0/);
    await client.expect(/^250 2\.1\.0/);
    await client.command("QUIT", /^221/);
    await client.expectClosed();
    const { bytes, ...envelope } = sink.mails[0]!;
    assertEquals(envelope, {
      from: "",
      to: ["a@x.example", '"b>"@x.example'],
      parameters: "BODY=8BITMIME SMTPUTF8",
    });
    assertEquals(text(bytes), ".first\r\n\r.\r\nb\n.\nc\r\n.\r\n\xc3\xbf\r\n");
    assertEquals([sink.count, sink.recipients, sink.connections, sink.mails.length], [1, 2, 1, 1]);
  }));

test("However the bytes are cut, the mail is the same", () =>
  withSink({ keep: true }, async (sink, connect) => {
    const all =
      "MAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\nA: b\r\n\r\n..x\r\n\r\n.\r\nRSET\r\n";
    for (const size of [1, 2, 3, 5, 7, all.length]) {
      const client = await greeted(connect);
      await client.sendSlowly(all, size);
      for (const code of [250, 250, 354, 250, 250]) await client.expect(new RegExp(`^${code} `));
    }
    assertEquals(new Set(sink.mails.map(({ bytes }) => text(bytes))), new Set(["A: b\r\n\r\n.x\r\n\r\n"]));
    assertEquals([sink.count, sink.mails.length], [6, 6]);
  }));

test("An empty message is one, and what is not kept is counted all the same", () => {
  const told: unknown[] = [];
  const onMail = (envelope: unknown, sizeBytes: number) => void told.push([envelope, sizeBytes]);
  return withSink({ onMail }, async (sink, connect) => {
    const client = await greeted(connect);
    await client.command("MAIL FROM:<a@x.example>", /^250 /);
    await client.command("RCPT TO:<b@x.example>", /^250 /);
    await client.command("DATA", /^354 /);
    await client.command(".", /^250 /);
    await client.mail("12345678\r\n");
    await sink.taken(2);
    assertEquals([sink.count, sink.bytes, sink.mails, told.length], [2, 10, [], 2]);
    assertEquals(told[0], [{ from: "a@x.example", to: ["b@x.example"], parameters: "" }, 0]);
  });
});

test("Commands out of place are 503, unknown ones 500, endless ones the end", () =>
  withSink({}, async (sink, connect) => {
    const client = await connect();
    await client.expect(/^220 /);
    await client.command("MAIL FROM:<a@x.example>", /^503 /);
    await client.command("HELO x", /^250 sink\.example$/);
    await client.command("RCPT TO:<a@x.example>", /^503 /);
    await client.command("DATA", /^503 /);
    await client.command("MAIL FROM:a@x.example", /^501 /);
    await client.command("MAIL FROM:<a@x.example>", /^250 /);
    await client.command("MAIL FROM:<a@x.example>", /^503 /);
    await client.command("DATA", /^554 /);
    await client.command("NOOP", /^250 /);
    await client.command("STARTTLS", /^500 /);
    client.send("x".repeat(10_000));
    await client.expect(/^421 /);
    await client.expectClosed();
    assertEquals(sink.count, 0);
  }));

test("refusing() says 550 5.1.1 for one recipient, and the others get their mail", () =>
  withSink({ keep: true, script: refusing("Gone@x.example") }, async (sink, connect) => {
    const client = await greeted(connect);
    await client.command("MAIL FROM:<a@x.example>", /^250 /);
    await client.command("RCPT TO:<gone@X.example>", /^550 5\.1\.1 /);
    await client.command("DATA", /^554 5\.5\.1 /);
    await client.command("RCPT TO:<here@x.example>", /^250 /);
    await client.command("DATA", /^354 /);
    await client.command("x\r\n.", /^250 /);
    assertEquals(sink.mails.map(({ to }) => to), [["here@x.example"]]);
  }));

test("deferring() says 451 to each recipient so many times", () =>
  withSink({ script: deferring(2) }, async (_, connect) => {
    const client = await greeted(connect);
    await client.command("MAIL FROM:<a@x.example>", /^250 /);
    for (const code of [451, 451, 250, 250]) {
      await client.command("RCPT TO:<a@x.example>", new RegExp(`^${code} `));
    }
    await client.command("RCPT TO:<b@x.example>", /^451 4\.7\.1 /);
  }));

test("closing() greets with 421 and ends the connection, the first times", () =>
  withSink({ script: closing(1) }, async (sink, connect) => {
    const first = await connect();
    await first.expect(/^421 /);
    await first.expectClosed();
    await greeted(connect);
    assertEquals(sink.connections, 2);
  }));

test("silentAfterDot() cuts the connection with the mail in hand", () =>
  withSink({ keep: true, script: silentAfterDot(1) }, async (sink, connect) => {
    const client = await greeted(connect);
    assertEquals(await client.mail("x\r\n", {}, /^$/), "");
    assertEquals(sink.count, 0);
    await (await greeted(connect)).mail("x\r\n");
    assertEquals(sink.count, 1);
  }));

test("A script may take its time: later commands wait for their turn", () => {
  const held = Promise.withResolvers<null>();
  return withSink({ script: { message: () => held.promise } }, async (sink, connect) => {
    const client = await greeted(connect);
    client.send("MAIL FROM:<a@x.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\nx\r\n.\r\nNOOP\r\nQUIT\r\n");
    for (const code of [250, 250, 354]) await client.expect(new RegExp(`^${code} `));
    assertEquals([client.received, sink.count], ["", 0]);
    held.resolve(null);
    await client.expect(/^250 2\.0\.0 Taken/);
    await client.expect(/^250 /);
    await client.expect(/^221 /);
  });
});

test("close() cuts what is open, also where a script never answers", async () => {
  const never = new Promise<null>(() => {});
  const sink = await MailSink.start({ script: { greeting: (n) => n === 1 ? never : null } });
  const [silent, idle] = [
    await SmtpConversation.connect(sink.port),
    await SmtpConversation.connect(sink.port),
  ];
  await idle.expect(/^220 /);
  await until(() => sink.open === 2, "both connections");
  await sink.close();
  assertEquals([await silent.expectClosed(), await idle.expectClosed(), sink.open], ["", "", 0]);
  assertEquals(sink.connectionsMost, 2);
  await Promise.all([silent.close(), idle.close()]);
});

testIf(
  await hasSmtpSink(),
  "Postfix's smtp-sink is not installed",
  "Debian's smtp-sink takes mail and counts it",
  async () => {
    const sink = await SmtpSink.start();
    try {
      const client = await SmtpConversation.connect(`${sink.host}:${sink.port}`);
      await client.expect(/^220 /);
      assertMatch(await client.command("EHLO test.example", /^250/), /PIPELINING/);
      await client.mail("x\r\n");
      await client.mail("y\r\n");
      await sink.taken(2);
      assertEquals(sink.count, 2);
      await client.close();
    } finally {
      await sink.stop();
    }
  },
);
