/** `dkim …` and `domain check`: what is asked of the daemon, what a person reads, what a script gets. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { zoneLine } from "../../src/cli/zone_file.ts";
import { withControlDoor } from "./dkim_daemon.ts";
import { test } from "../support/test.ts";
import { withDaemon } from "./support.ts";

const RECORD = { name: "s1._domainkey.a.test", type: "TXT", value: `v=DKIM1; k=rsa; p=${"A".repeat(392)}` };
const KEY = {
  domain: "a.test",
  selector: "s1",
  algorithm: "rsa",
  state: "pending",
  source: "store",
  public_key: "AAAA",
  created_at: "2026-01-01T00:00:00.000Z",
  activated_at: null,
  stopped_at: null,
};

test("dkim record --json is [{name, type, value}] exactly, its text what a zone file has", () =>
  withDaemon(
    () => Response.json({ items: [{ ...RECORD, more: 1 }], next_cursor: null }),
    async ({ asked, run }) => {
      const ran = await run("dkim record a.test --json");
      assertEquals([ran.code, JSON.parse(ran.out)], [0, [RECORD]]);
      const text = await run("dkim record a.test");
      const [line, rest] = text.out.split("\n");
      assertEquals(rest, "");
      assertEquals(line!.slice(0, 32), 's1._domainkey.a.test. IN TXT "v=');
      const strings = [...line!.matchAll(/"([^"]*)"/g)].map((found) => found[1]!);
      assertEquals([strings.map(({ length }) => length), strings.join("")], [[255, 155], RECORD.value]);
      assertEquals(asked[0], { method: "GET", path: "/v1/domains/a.test/dkim/records", body: undefined });
    },
  ));

test("dkim record without keys says what makes them, and is [] for a script", () =>
  withDaemon(() => Response.json({ items: [], next_cursor: null }), async ({ run }) => {
    const ran = await run("dkim record a.test");
    assertEquals([ran.code, ran.out, ran.err], [
      0,
      "",
      "no DKIM keys: gomail dkim generate a.test makes some\n",
    ]);
    assertEquals((await run("dkim record a.test --json")).out, "[]\n");
  }));

test("zone lines have dots behind names, and escapes in strings", () => {
  assertEquals(
    zoneLine({ name: "a.test", type: "MX", value: "10 mail.a.test" }),
    "a.test. IN MX 10 mail.a.test.",
  );
  assertEquals(zoneLine({ name: "a.test.", type: "A", value: "192.0.2.1" }), "a.test. IN A 192.0.2.1");
  assertEquals(
    zoneLine({ name: "a.test", type: "TXT", value: 'q" b\\ ü;' }),
    'a.test. IN TXT "q\\" b\\\\ \\195\\188;"',
  );
  assertEquals(zoneLine({ name: "a.test", type: "TXT", value: "" }), 'a.test. IN TXT ""');
});

test("dkim generate prints the new records alone, and what to do next apart from them", () => {
  const old = { ...RECORD, name: "s0._domainkey.a.test" };
  return withDaemon(
    (ask) =>
      ask.method === "POST"
        ? Response.json({ keys: [KEY] }, { status: 201 })
        : Response.json({ items: [old, RECORD] }),
    async ({ asked, run }) => {
      const ran = await run("dkim generate a.test");
      assertEquals([ran.code, ran.err], [0, "publish these records, then: gomail dkim activate a.test\n"]);
      assertEquals(ran.out, zoneLine(RECORD) + "\n");
      assertEquals(asked.map(({ method, path }) => `${method} ${path}`), [
        "POST /v1/domains/a.test/dkim",
        "GET /v1/domains/a.test/dkim/records",
      ]);
      assertEquals(JSON.parse((await run("dkim generate a.test --json")).out), { keys: [KEY] });
    },
  );
});

test("dkim list shows one domain's keys, or all", () =>
  withDaemon(() => Response.json({ items: [KEY], next_cursor: null }), async ({ asked, run }) => {
    const ran = await run("dkim list");
    assertEquals(ran.out.split("\n")[1]!.split(/ {2,}/), [
      "a.test",
      "s1",
      "rsa",
      "pending",
      "store",
      KEY.created_at,
      "-",
      "-",
    ]);
    await run("dkim list a.test --json");
    assertEquals(asked.map(({ path }) => path), ["/v1/dkim", "/v1/domains/a.test/dkim"]);
  }));

test("dkim activate says what signs, or what is missing in DNS and what to publish", async () => {
  await withDaemon(
    () => Response.json({ keys: [KEY, { ...KEY, selector: "s2" }] }),
    async ({ asked, run }) => {
      assertEquals((await run("dkim activate a.test")).out, "mail from a.test is signed by s1, s2\n");
      await run("dkim activate a.test s1 --force");
      assertEquals(asked.map(({ path, body }) => [path, body]), [
        ["/v1/domains/a.test/dkim/activate", {}],
        ["/v1/domains/a.test/dkim/activate", { selector: "s1", force: true }],
      ]);
    },
  );
  const details = { reason: "not_published", missing: [{ record: RECORD, found: 'evil "\u001b[2J"' }] };
  const problem = { error: "conflict", message: "Cannot activate", details, request_id: "r" };
  await withDaemon(() => Response.json(problem, { status: 409 }), async ({ run }) => {
    const ran = await run("dkim activate a.test");
    assertEquals([ran.code, ran.out], [1, ""]);
    assertStringIncludes(
      ran.err,
      's1._domainkey.a.test has evil "\\u001b[2J"\n  publish: s1._domainkey.a.test. IN TXT',
    );
    assertStringIncludes(ran.err, "gomail: Cannot activate: DNS is not as it should be");
    assertEquals(ran.err.includes("\u001b"), false);
  });
  const other = { error: "conflict", message: "Cannot activate: the file is missing", request_id: "r" };
  await withDaemon(() => Response.json(other, { status: 409 }), async ({ run }) => {
    const ran = await run("dkim activate a.test");
    assertEquals([ran.code, ran.err], [1, "gomail: Cannot activate: the file is missing\n"]);
  });
});

test("dkim retire needs a selector, and neither argument becomes another path", () =>
  withDaemon(() => Response.json({ status: "retired" }), async ({ asked, run }) => {
    assertEquals((await run("dkim retire a.test")).code, 2);
    assertStringIncludes(
      (await run("dkim retire a.test s1")).out,
      "s1 is retired; take s1._domainkey.a.test out of DNS",
    );
    await run("dkim retire a.test ../x --force");
    assertEquals((await run("dkim retire a.test ..")).code, 1);
    assertEquals((await run("dkim record ..")).code, 1);
    assertEquals(asked.map(({ path, body }) => [path, body]), [
      ["/v1/domains/a.test/dkim/s1/retire", {}],
      ["/v1/domains/a.test/dkim/..%2Fx/retire", { force: true }],
    ]);
  }));

test("domain check exits 1 when something failed or is not known, 0 when all is fine or only could be better", async () => {
  const finding = (status: string) => ({ check: "mx", status, detail: `is ${status}\u001b`, records: [] });
  const codeFor = async (...statuses: string[]) => {
    let code = -1;
    const answer = { domain: "a.test", findings: statuses.map(finding) };
    await withDaemon(() => Response.json(answer), async ({ run }) => {
      const ran = await run("domain check a.test");
      assertEquals(ran.out.includes("\u001b"), false);
      code = ran.code;
    });
    return code;
  };
  assertEquals(
    [
      await codeFor("ok"),
      await codeFor("ok", "warning"),
      await codeFor("ok", "failed"),
      await codeFor("unknown"),
    ],
    [0, 0, 1, 1],
  );
  assertEquals(await codeFor(), 1);
});

test("domain check prints a line for each finding, and what to publish below it", () => {
  const mx = { name: "a.test", type: "MX", value: "10 mail.a.test" };
  const findings = [
    { check: "mx", status: "failed", detail: "no MX record", records: [mx] },
    { check: "dmarc", status: "ok", detail: "asks for reject", records: [] },
  ];
  return withDaemon(() => Response.json({ domain: "a.test", findings }), async ({ asked, run }) => {
    const ran = await run("domain check a.test");
    assertEquals(
      ran.out,
      "failed   mx     no MX record\n                -> a.test. IN MX 10 mail.a.test.\nok       dmarc  asks for reject\n",
    );
    assertEquals(JSON.parse((await run("domain check a.test --json")).out), findings);
    assertEquals(asked[0]!.path, "/v1/domains/a.test/check");
  });
});

test("from generate to retire with a real daemon's door and DNS, by command line alone", () =>
  withControlDoor(async ({ run, publish, path }) => {
    assertStringIncludes(
      (await run("dkim generate ours.test")).out,
      'gm202611a-rsa._domainkey.ours.test. IN TXT "v=DKIM1; k=rsa;',
    );
    assertEquals(
      (await run("dkim generate other.test")).err,
      "gomail: Cannot make keys: the domain is none of ours; add it first\n",
    );
    const early = await run("dkim activate ours.test");
    assertEquals([early.code, early.err.match(/has no TXT record/g)?.length], [1, 2]);
    publish(JSON.parse((await run("dkim record ours.test --json")).out));
    assertEquals(
      (await run("dkim activate ours.test")).out,
      "mail from ours.test is signed by gm202611a-rsa, gm202611a-ed25519\n",
    );
    const signing = await run("dkim retire ours.test gm202611a-rsa");
    assertEquals([signing.code, signing.err], [
      1,
      "gomail: Cannot retire the key: it signs; activate another first\n",
    ]);
    assertEquals((await run("dkim retire ours.test gm202611a-rsa --force")).code, 0);
    assertStringIncludes((await run("dkim list ours.test")).out, "retired");
    assertEquals(await Deno.stat(path("ours.test", "gm202611a-rsa")).catch(() => "gone"), "gone");
  }));
