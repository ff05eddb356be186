/**
 * What an app is made to send by somebody else's input, through the whole daemon: fields that want to be more than
 * one, addresses that want to be more, files that want to be read. Every text in every field is tried in
 * tests/outbound/inject_test.ts.
 *
 * 21 a bounce about a bounce (RFC 5321 4.5.5)            never made
 * 46 line ends in any field (RFC 5322 2.2, RFC 2047 5)   400, or encoded; never a field more
 * 47 reserved names, `__proto__`                         400 with its path
 * 48 lists in an address; a From that is not ours        400 with its path, nobody gets mail who was not named
 * 49 attachments by path or URL                          400; what looks like one is text, and nothing is read
 * 54 a mail that can't be delivered                      its own trouble: what comes behind it goes out
 * 59 the same Idempotency-Key at once                    one send; 409 for every other body
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { HeaderBlock } from "../../src/mail/header.ts";
import {
  type ApiAnswer,
  type ConfigValues,
  idOf,
  latin1,
  plainMail,
  type TestDaemon,
  withDaemon,
} from "../support/harness.ts";
import { bytesOf } from "../support/hostile.ts";
import { MailSink, refusing } from "../support/mail_sink.ts";
import { eventOf, mxZone, postJson, sendMail } from "../support/sending.ts";
import { split } from "../support/signed_mail.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const CUSTOMER = mxZone("customer.example", [["mx.customer.example", 10, "127.0.0.1"]]);

async function withSink(
  fn: (d: TestDaemon, sink: MailSink) => Promise<void>,
  options: Parameters<typeof MailSink.start>[0] = {},
  values: ConfigValues = {},
): Promise<void> {
  const sink = await MailSink.start({ keep: true, ...options });
  const direct = {
    outbound_transport: "direct" as const,
    outbound_port: sink.port,
    outbound_allow_private: true,
  };
  try {
    await withDaemon({ ...direct, ...values }, (d) => fn(d, sink), { zone: CUSTOMER });
  } finally {
    await sink.close();
  }
}

const pathsOf = ({ status, json }: ApiAnswer): string[] => {
  assertEquals([status, json.error], [400, "validation_error"]);
  return json.details.problems.map(({ path }: { path: string }) => path);
};

/** Line ends, what some reader takes for one, and what some reader makes one of. */
const INJECTIONS = [
  "\r\n",
  "\n",
  "\r",
  "\r\n\r\n",
  "\0",
  "\u0085",
  "\u2028",
  "\u2029",
  "\v",
  "\ud800",
  "=?utf-8?q?=0D=0A?=",
  "=?utf-8?b?DQo=?=",
  "%0d%0a",
  "\\r\\n",
  "\u560d\u560a",
];
const TAIL = "Bcc: victim@customer.example";

const attached = (values: Record<string, string>) => ({
  attachments: [{ filename: "a.txt", content_type: "text/plain", content: "YQ==", ...values }],
});
/** Each field with the text put into it. */
const FIELDS: Record<string, (text: string) => Record<string, unknown>> = {
  from: (text) => ({ from: `Ann${text} <ann@example.com>` }),
  to: (text) => ({ to: `Bob${text} <bob@customer.example>` }),
  "to[0]": (text) => ({ to: [`bob${text}@customer.example`] }),
  "cc[0]": (text) => ({ cc: [`"Cy${text}" <bob@customer.example>`] }),
  "bcc[0]": (text) => ({ bcc: [`<bob@customer.example${text}>`] }),
  reply_to: (text) => ({ reply_to: `Eve${text} <eve@customer.example>` }),
  subject: (text) => ({ subject: `Hello${text}` }),
  "headers.X-Foo": (text) => ({ headers: { "X-Foo": `a${text}` } }),
  "headers.": (text) => ({ headers: { [`X-Foo${text}`]: "a" } }),
  "headers.Message-ID": (text) => ({ headers: { "Message-ID": `<a${text}@example.com>` } }),
  "headers.References": (text) => ({ headers: { References: `<a@example.com>${text}` } }),
  "attachments[0].filename": (text) => attached({ filename: `a${text}.txt` }),
  "attachments[0].content_type": (text) => attached({ content_type: `text/plain${text}` }),
  "attachments[0].content_id": (text) => attached({ content_id: `a${text}` }),
  text: (text) => ({ text: `a${text}` }),
  html: (text) => ({ html: `<p>${text}</p>` }),
};

const messageOf = (json: { message?: string; message_base64?: string }): string =>
  json.message ?? latin1(Uint8Array.fromBase64(json.message_base64!));

const namesOf = (message: string): string[] =>
  new HeaderBlock(split(message).header).fields.map(({ name }) => name.toLowerCase()).sort();

test("46: whatever stands in a field, it is that field's text or 400, and no field and no recipient is added", () =>
  withDaemon({ dkim_sign_outbound: false }, async (d) => {
    const to = "bob@customer.example";
    for (const [field, make] of Object.entries(FIELDS)) {
      const send = (text: string) => sendMail(d, { to, dry_run: true, ...make(text) });
      const plain = namesOf(messageOf((await send("")).json));
      let refused = 0;
      for (const injection of INJECTIONS) {
        const answer = await send(`${injection}${TAIL}`);
        const label = `${field} ${JSON.stringify(injection)}: ${answer.text.slice(0, 200)}`;
        if (answer.status === 400) {
          refused++;
          // Half a character is found before it is a field of anything, but under the same name.
          const paths = pathsOf(answer);
          assert(paths.every((path) => path.startsWith(field.replace(/\[0\]$/, ""))), label);
          continue;
        }
        assertEquals(answer.status, 200, label);
        const message = messageOf(answer.json);
        if (field !== "headers.") assertEquals(namesOf(message), plain, label);
        else assertEquals(namesOf(message).length, plain.length, label);
        assert(!/[^\r]\n|\r(?!\n)/.test(message), label);
        assert(answer.json.recipients.every(({ address }: { address: string }) => address === to), label);
      }
      // All that ends a line in the fields of one line; what is no Unicode in every field.
      assert(refused >= (["text", "html"].includes(field) ? 1 : 9), `${field}: ${refused}`);
    }
    const head = `From: app@example.com\r\nTo: ${to}\r\n`;
    for (
      const odd of [
        "Subject: a\rBcc: x@y\r\n",
        "Subject: a\nBcc: x@y\r\n",
        "Subject: a\0b\r\n",
        "no field\r\n",
      ]
    ) {
      const answer = await d.api("/mail/send?dry_run=true", {
        method: "POST",
        body: bytesOf(`${head}${odd}\r\nx\r\n`),
        headers: { "content-type": "message/rfc822" },
      });
      assert([400, 422].includes(answer.status), `${JSON.stringify(odd)}: ${answer.text}`);
    }
    assertEquals((await d.api("/v1/messages")).json.items, []);
  }));

const RESERVED =
  ("Bcc bCC From Sender To Cc Reply-To Subject Received Return-Path DKIM-Signature Content-Type MIME-Version " +
    "Content-Transfer-Encoding ARC-Seal Authentication-Results Resent-Bcc Delivered-To X:Y -").split(" ");

test("47: header names that only we write, and names that are none, are refused with their path", () =>
  withDaemon({}, async (d) => {
    for (const name of [...RESERVED, "", "Bcc ", "X\u00a0Y", "Bcc:", "x".repeat(77), "B\u0441c"]) {
      const answer = await sendMail(d, { headers: { [name]: "a@customer.example" } });
      assertEquals(pathsOf(answer), [`headers.${name.slice(0, 76)}`]);
    }
    const body = (headers: string) =>
      `{"from":"app@example.com","to":"ann@customer.example","subject":"x","text":"x","headers":${headers}}`;
    for (
      const [headers, path] of [
        ['{"__proto__":"x"}', "headers.__proto__"],
        ['{"__pro\\u0074o__":{"polluted":1}}', "headers.__proto__"],
        ['{"X-A":"1","X-A":"2"}', "headers.X-A"],
        ['{"X-A":"1","x-a":"2"}', "headers.x-a"],
        ['{"X-A":["1"]}', "headers.X-A"],
      ]
    ) {
      const answer = await d.api("/mail/send", {
        method: "POST",
        body: body(headers!),
        headers: { "content-type": "application/json" },
      });
      assertEquals(pathsOf(answer), [path]);
    }
    // deno-lint-ignore no-explicit-any -- asking for what must not be there
    assertEquals(({} as any).polluted, undefined);
    assertEquals((await d.api("/v1/messages")).json.items, []);
  }));

test("48: an address is one address, and the author is ours", () =>
  withSink(async (d, sink) => {
    const several = [
      "a@customer.example, x@customer.example",
      "a@customer.example; x@customer.example",
      "a@customer.example x@customer.example",
      "<a@customer.example>, <x@customer.example>",
      "A <a@customer.example> X <x@customer.example>",
      "A, X <a@customer.example>",
      '"A" <a@customer.example>, "',
      "x@customer.example <a@customer.example>",
      "<<a@customer.example>",
      "g: a@customer.example, x@customer.example;",
      "a@customer.example>,<x@customer.example",
      "a@customer.example@x.example",
      "a@[127.0.0.1]",
      "",
    ];
    for (const field of ["to", "cc", "bcc"]) {
      for (const text of several) {
        const one = await sendMail(d, { [field]: text });
        assertEquals(pathsOf(one), [field], text);
        const list = await sendMail(d, { [field]: ["b@customer.example", text] });
        assertEquals(pathsOf(list)[0], `${field}[1]`, text);
      }
    }
    const foreign = [
      "a@elsewhere.example",
      "a@example.com.elsewhere.example",
      "a@sub.example.com",
      "app@example.com, a@elsewhere.example",
      "app@example.com <a@elsewhere.example>",
      "g: app@example.com;",
      "a@elsewhere.example(@example.com)",
    ];
    for (const from of foreign) assertEquals(pathsOf(await sendMail(d, { from })), ["from"], from);
    for (const from of foreign.slice(0, 6)) {
      const answer = await d.api("/mail/send", {
        method: "POST",
        body: `From: ${from}\r\nTo: a@customer.example\r\nSubject: x\r\n\r\nx\r\n`,
        headers: { "content-type": "message/rfc822" },
      });
      assertEquals(pathsOf(answer), ["from"], from);
    }
    assertEquals([(await d.api("/v1/messages")).json.items, sink.connections], [[], 0]);
  }));

test("49: attachments are what is sent along, and never come from a path or an address", () =>
  withSink(async (d, sink) => {
    const secret = `${d.dir}/secret.txt`;
    await Deno.writeTextFile(secret, "s3cret-content");
    const url = d.receiver.url;
    const ways: Record<string, unknown>[] = [
      { path: secret },
      { href: url },
      { url },
      { content: { path: secret } },
      { content: { href: url } },
      { content: [115] },
      { content: secret },
      { content: `file://${secret}` },
      { content: url },
      { content: "data:text/plain;base64,YQ==" },
      { raw: { path: secret } },
      { encoding: "utf-8" },
      { filename: { path: secret } },
    ];
    for (const way of ways) {
      const [path] = pathsOf(
        await sendMail(d, {
          attachments: [{ filename: "a.txt", content_type: "text/plain", content: "YQ==", ...way }],
        }),
      );
      assertMatch(path!, /^attachments\[0\]/, JSON.stringify(way));
    }
    for (const field of ["text", "html", "subject", "from", "to", "headers"]) {
      const bad = field === "headers" ? { "X-A": { path: secret } } : { path: secret };
      assertMatch(pathsOf(await sendMail(d, { [field]: bad }))[0]!, new RegExp(`^${field}`));
    }
    for (
      const field of ["raw", "icalEvent", "watchHtml", "amp", "alternatives", "envelope", "dkim", "list"]
    ) {
      assertEquals(pathsOf(await sendMail(d, { [field]: { path: secret } })), [field]);
    }
    // What only looks like one goes out as it is.
    const { json: { id } } = await sendMail(d, {
      text: `file://${secret}`,
      html: `<img src="file://${secret}"><img src="${url}"><img src="data:image/png;base64,YQ==">`,
      ...attached({ filename: secret, content: btoa(`file://${secret}`) }),
    });
    await eventOf(d, id, "mail.delivered");
    assert(!latin1(sink.mails[0]!.bytes).includes("s3cret"));
    assert(!latin1(sink.mails[0]!.bytes).includes(btoa("s3cret-content").slice(0, 12)));
    assert(d.receiver.requests.every(({ path }) => path === "/webhook"));
    assert(d.receiver.requests.every(({ method }) => method === "POST"));
  }));

test("54: a mail whose server cuts the connection each time blocks nothing that goes the same way", () =>
  withSink(async (d, sink) => {
    const { json: { id } } = await sendMail(d, { to: "poison@customer.example" });
    await eventOf(d, id, "mail.deferred");
    for (let i = 0; i < 3; i++) {
      const other = await sendMail(d);
      await eventOf(d, other.json.id, "mail.delivered");
      await postJson(d, "/v1/queue/retry", { message_id: id });
    }
    const job = (await d.jobs(id)).find(({ carrier }) => carrier === "smtp");
    assertEquals([job.state, sink.count], ["pending", 3]);
  }, { script: { recipient: (address) => address.startsWith("poison@") ? "drop" : null } }));

test("59: one key sends once, however many ask at the same time, and any other body is 409", () =>
  withSink(async (d, sink) => {
    const key = { "idempotency-key": "race-1" };
    // Eight requests of two bodies, all under way at once: whichever is first decides.
    const answers = await Promise.all(
      Array.from({ length: 16 }, (_, i) => sendMail(d, { subject: `Body ${i % 2}` }, key)),
    );
    const won = answers.findIndex(({ status }) => status === 202) % 2;
    answers.forEach(({ status, json }, i) => {
      if (i % 2 === won) assertEquals(status, 202);
      else assertEquals([status, json.error], [409, "conflict"]);
    });
    const ids = new Set(answers.filter(({ status }) => status === 202).map(({ json }) => json.id));
    assertEquals(ids.size, 1);
    await eventOf(d, [...ids][0], "mail.delivered");
    // One more field, another type, another order of recipients: all are another body.
    for (const other of [{ metadata: { a: 1 } }, { to: ["ann@customer.example", "x@customer.example"] }]) {
      assertEquals((await sendMail(d, { subject: `Body ${won}`, ...other }, key)).status, 409);
    }
    for (const bad of ["", "x".repeat(256), "caf\u00e9"]) {
      assertEquals((await sendMail(d, {}, { "idempotency-key": bad })).status, 400);
    }
    // Inside one batch too.
    const item = { from: "app@example.com", to: "ann@customer.example", subject: "x", text: "x" };
    const batch = await postJson(d, "/mail/send/batch", {
      messages: Array.from({ length: 4 }, () => ({ ...item, idempotency_key: "race-2" })),
    });
    await until(() => sink.count >= 2, "the batch's mail");
    assertEquals([batch.status, (await d.api("/v1/messages")).json.items.length], [202, 2]);
    assertEquals(sink.count, 2);
  }));

test("21: a bounce is never bounced: what can't be delivered is an event, and mail to nobody is refused", () =>
  withSink(async (d, sink) => {
    await d.reload({ routes: [{ match: "*", url: d.receiver.url, on_reject: "bounce" }] });
    // The other side refuses our mail.
    const { json: { id } } = await sendMail(d, { to: "nobody@customer.example" });
    await eventOf(d, id, "mail.bounced");
    // The app refuses mail, from somebody and from nobody.
    d.receiver.answerWith(() => ({ status: 422 }));
    for (const from of ["alice@customer.example", ""]) {
      const refused = idOf(await d.send(plainMail(), { from }));
      await until(async () => (await d.jobs(refused))[0]?.state === "dead", "the refusal");
    }
    // Mail that we refuse ourselves, a bounce among it, is refused in the dialogue and nowhere else.
    await d.send("Received: x\r\n".repeat(100) + plainMail(), { from: "" }, /^554 5\.4\.6 /);
    const { items } = (await d.api("/v1/messages")).json;
    assertEquals(items.filter((item: { direction: string }) => item.direction === "outbound").length, 1);
    assertEquals((await d.jobs()).filter((job) => job.carrier === "smtp").length, 1);
    assertEquals(sink.count, 0);
  }, { script: refusing("nobody@customer.example") }));
