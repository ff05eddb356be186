/** `doctor`: what it finds on hosts that are well and on hosts that are not, and what it says to type. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type Check, runChecks, type Subject } from "../../src/cli/doctor/check.ts";
import { hasSystemd } from "../../src/base/systemd.ts";
import { VERSION } from "../../src/base/version.ts";
import { createHealth } from "../../src/daemon/health.ts";
import type { QueueStatus } from "../../src/delivery/worker.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { hasProgram } from "../support/program.ts";
import { withDaemon } from "../support/harness.ts";
import { canMount, Tmpfs } from "../support/tmpfs.ts";
import { TEST_TOKEN } from "../support/daemon_process.ts";
import { test, testIf, withTempDir } from "../support/test.ts";
import {
  brief,
  type Found,
  freePort,
  type Host,
  hostOf,
  makeChain,
  problems,
  withHost,
  withServer,
} from "./doctor_support.ts";
import { type Asked, gomail, withDaemon as withFakeDaemon } from "./support.ts";

const DAY_MS = 86_400_000;
const NO_ANSWER = "Cannot talk to the daemon: no answer within 4 s";
const CHECKS = (
  "config disk files backup clock ports certificate daemon queue receiver port25 hostname dns mta_sts blocklists"
).split(" ");
const isCheck = (word: string | undefined) => CHECKS.includes(word ?? "");

test("doctor finds nothing wrong with a daemon that runs well, and exits 0", () =>
  withDaemon({ mail_hostname: "mail.example.com" }, async (d) => {
    d.receiver.answerWith(({ verified }) => ({ status: verified ? 200 : 401 }));
    // The threads are up then.
    await d.sendAndHear();
    const host = await hostOf(d);
    const found = await host.findings();
    const [port, metrics] = [d.daemon.addresses.api, d.daemon.addresses.metrics!].map((at) =>
      at.split(":").at(-1)
    );
    assertEquals(found.filter(({ status }) => status === "problem" || status === "unknown"), []);
    assertEquals(brief(found.filter(({ check }) => check === "ports")), [
      `ok: port 127.0.0.1:${port}: GoMail listens`,
      `ok: metrics_port 127.0.0.1:${metrics}: GoMail listens`,
      `ok: smtp_listen ${d.daemon.addresses.smtp[0]}: GoMail listens`,
    ]);
    const daemon = brief(found.filter(({ check }) => check === "daemon"));
    assertMatch(daemon[0]!, new RegExp(`^ok: gomail ${VERSION} answers, up for \\d+ s$`));
    assertStringIncludes(daemon[1]!, "ok: in order: store, disk, control, smtp");
    // Each check says something, in their order, twice the same.
    const order = [...new Set(found.map(({ check }) => check))];
    assertEquals(order, CHECKS);
    const ran = await host.doctor([], { now: Date.now });
    assertEquals([ran.code, ran.err], [0, ""]);
    assertMatch(ran.out, /^ok {7}config {6}.*gomail\.yaml is valid\n/);
    assertMatch(ran.out, /\n0 problems, \d notices, 0 not known\n$/);
    assertEquals(ran.out.match(/^(\w+) +(\w+)/gm)!.map((line) => line.split(/ +/)[1]).filter(isCheck), [
      ...found.map(({ check }) => check),
    ]);
    for (const secret of [d.secret, TEST_TOKEN, "q7Zt4mXw9Lr2Vb8Ns5Kd"]) {
      assert(!ran.out.includes(secret) && !JSON.stringify(found).includes(secret));
    }
  }));

test("doctor says how to start a daemon that is not there, and exits 1", () =>
  withHost(async (host) => {
    const [daemon] = await host.findings("daemon");
    assertMatch(daemon!.summary, /^Cannot reach the daemon: .*gomail\.sock does not exist/);
    assertStringIncludes(daemon!.remedy!, "systemctl start gomail");
    const ran = await host.doctor();
    assertMatch(ran.out, /\nproblem {2}daemon {7}Cannot reach .*\n {22}-> `systemctl start gomail`/);
    assertMatch(ran.out, /\n1 problem, 3 notices, 0 not known\n$/);
  }));

/** What is on no host without systemd, or has nobody to ask there. */
const OF_SYSTEMD = /\b(?:systemctl|journalctl|resolvectl|timedatectl|sudo|certbot)\b/;

test("doctor in a container or a pod, where no systemd is, says what can be typed there", () =>
  withHost(async (host) => {
    const remedies = async (yaml: string, only?: string, now = Date.now) => {
      await host.configure(yaml);
      const found = (await host.findings(only, { hasSystemd: () => false, now })).filter(({ remedy }) =>
        remedy !== undefined
      );
      for (const { summary, remedy } of found) assert(!OF_SYSTEMD.test(remedy!), `${summary}: ${remedy}`);
      return found.map(({ id, remedy }) => `${id}: ${remedy}`).join("\n");
    };
    const all = await remedies("");
    assertMatch(all, /^daemon\.answers: start its container, pod or process; its log \(`kubectl logs`/m);
    assertMatch(all, /^backup\.age: `gomail backup create --output - > FILE` makes one/m);
    assertMatch(all, /^queue\.asked: start its container, pod or process$/m);
    assertMatch(all, /^clock\.difference: `date` shows it; /m);
    const gone = await remedies(`data_dir: ${host.dir}/none`, "disk");
    assertMatch(gone, /start the server, which makes it, or mount a volume at \S+\/none or above it$/);
    await withServer({ hostname: "127.0.0.1", port: 0 }, "220 mx ESMTP Postfix\r\n", async (port) => {
      const busy = await remedies(`mode: socket\nsmtp_listen: 127.0.0.1:${port}`, "ports");
      assertMatch(busy, /^ports\.smtp_listen: stop Postfix, or change smtp_listen$/);
    });
    const { leaf, key } = await makeChain(host.dir);
    const old = await remedies(
      `tls_cert_file: ${leaf}\ntls_key_file: ${key}`,
      "certificate.dates",
      () => Date.now() + 85 * DAY_MS,
    );
    assertMatch(
      old,
      /^certificate\.dates: renew it where it comes from, then send it SIGHUP \(`kill -HUP 1`/,
    );
    // A daemon in trouble, and one of another version.
    const checks = { store: { status: "failed", detail: "x" }, control: { status: "failed", detail: "x" } };
    const sick = () => Response.json({ version: "0.0.0", uptime: 1, checks });
    await withFakeDaemon(sick, async ({ socket }) => {
      const ill = await remedies(`control_socket: ${socket}`, "daemon");
      assertMatch(ill, /^daemon\.version: restart its container, pod or process$/m);
      assertMatch(ill, /^daemon\.health: its log \(`kubectl logs`, .*\) says why$/m);
    });
  }));

test("doctor has all that differs without systemd in one place", async () => {
  const dir = new URL("../../src/cli/doctor/", import.meta.url);
  for await (const { name } of Deno.readDir(dir)) {
    if (name === "upkeep.ts") continue;
    const text = (await Deno.readTextFile(new URL(name, dir))).replace(/\/\*\*[^]*?\*\//g, "");
    assertEquals(OF_SYSTEMD.exec(text)?.[0], undefined, name);
  }
});

test("whether systemd is there is told by its directory, and taken for granted where that can't be seen", () =>
  withTempDir(async (dir) => {
    await Deno.writeTextFile(`${dir}/file`, "");
    assertEquals([`${dir}`, `${dir}/none`, `${dir}/file`, `${dir}/file/below`].map(hasSystemd), [
      true,
      false,
      false,
      true,
    ]);
  }));

test("doctor takes no arguments and no flags of others", async () => {
  assertEquals((await gomail("doctor now")).code, 2);
  assertEquals((await gomail("doctor --limit 3")).code, 2);
  const odd = await gomail("doctor --only disk,dsk");
  assertEquals([odd.code, odd.out], [2, ""]);
  assertMatch(odd.err, /--only dsk: the checks are config, disk, .*blocklists/);
});

test("doctor tells every problem of a config, and looks on with what can be read", () =>
  withHost(async (host) => {
    await host.configure("prot: 1\nread_timeout: soon\nprimary_domain: ''");
    const found = await host.findings("config");
    assertEquals(problems(found).map(({ summary }) => summary.split(" ")[0]), ["prot", "read_timeout"]);
    assertStringIncludes(found[0]!.remedy!, "did you mean port?");
    assertEquals((await host.findings("ports")).length, 3);
  }));

test("doctor does not call a daemon stopped that this user could not ask", () =>
  withHost(async (host) => {
    const readFile = () => {
      throw new Deno.errors.PermissionDenied("");
    };
    const found = (await host.findings(undefined, { readFile })).filter(({ status }) => status !== "skipped");
    assertEquals(found.map(({ id, status }) => `${id} ${status}`), [
      "config.key problem",
      "daemon.answers unknown",
    ]);
    for (const { remedy } of found) assertMatch(remedy!, /\bsudo\b/);
    // The packaged one holds the token, and is closed to most users on purpose.
    assert(!found[0]!.remedy!.includes("readable"));
  }));

test("doctor skips what needs a config when there is none to read", async () => {
  const ran = await gomail("doctor --json --config /nowhere/gomail.yaml");
  assertEquals(ran.code, 1);
  const skipped = (JSON.parse(ran.out) as Found[]).filter(({ status }) => status === "skipped");
  assertEquals(
    skipped.map(({ check }) => check),
    CHECKS.filter((name) => !/^(config|daemon)$/.test(name)).filter((name) => name !== "mta_sts"),
  );
});

test("doctor says when the last backup was made: never is worth a look, and that they have stopped a problem", () =>
  withHost(async (host) => {
    const now = Date.UTC(2026, 5, 30, 12);
    const note = (at: string) => Deno.writeTextFile(`${host.dir}/data/last_backup.json`, at);
    const found = async () => (await host.findings("backup", { now: () => now }))[0]!;
    const never = await found();
    assertEquals([never.id, never.status, never.summary], [
      "backup.age",
      "notice",
      "there is no backup of this store",
    ]);
    for (
      const [at, status, summary] of [
        ["2026-06-29T10:00:00.000Z", "ok", "the last backup is 26 h old"],
        ["2026-06-29T09:59:59.000Z", "problem", "the last backup is 26 h old"],
        ["2026-05-30T12:00:00.000Z", "problem", "the last backup is 31 days old"],
      ]
    ) {
      await note(JSON.stringify({ at }));
      const told = await found();
      assertEquals([told.status, told.summary], [status, summary]);
      assertEquals(told.remedy?.includes("journalctl -u gomail-backup"), status === "ok" ? undefined : true);
    }
    await note("nothing that can be read");
    assertEquals((await found()).status, "notice");
  }));

test("doctor looks at the data directory: there, writable, closed to others, with room", () =>
  withHost(async (host) => {
    const good = await host.findings("disk");
    assertEquals(good.map(({ id, status }) => `${id} ${status}`).slice(0, 2), [
      "disk.writable ok",
      "disk.room ok",
    ]);
    assertEquals(problems(good), []);
    assertEquals([...Deno.readDirSync(`${host.dir}/data`)], []);
    await Deno.chmod(`${host.dir}/data`, 0o755);
    const open = (await host.findings("files"))[0]!;
    assertEquals([open.status, open.remedy], ["notice", `\`chmod 0700 ${host.dir}/data\``]);
    await host.configure("disk_reserve: 1000000GB");
    const full = problems(await host.findings("disk"))[0]!;
    assertMatch(
      full.summary,
      /^[\d,]+ MB free at .*, less than disk_reserve \(1,024,000,000 MB\): new mail gets 452$/,
    );
    await host.configure(`data_dir: ${host.dir}/none`);
    const none = problems(await host.findings("disk"))[0]!;
    assertEquals(none.summary, `data_dir ${host.dir}/none does not exist`);
    await host.configure(`data_dir: ${host.config}`);
    assertStringIncludes((await host.findings("disk"))[0]!.summary, "is no directory");
    // Where not even root makes files.
    await host.configure("data_dir: /proc/self/fdinfo");
    assertStringIncludes(
      problems(await host.findings("disk"))[0]!.summary,
      "Cannot write to data_dir",
    );
  }));

test("doctor finds the mail server that holds our port, and says what to type", () =>
  withHost(async (host) => {
    const cases: [string, string, RegExp][] = [
      [
        "220 mx.example.com ESMTP Postfix (Debian/GNU)\r\n",
        "Postfix",
        /gomail postfix.*systemctl disable --now postfix`/,
      ],
      ["220 mx.example.com ESMTP Exim 4.96 Tue\r\n", "Exim", /^stop it: `systemctl disable --now exim4`$/],
      ["220 mx ESMTP OpenSMTPD\r\n", "OpenSMTPD", /disable --now opensmtpd/],
    ];
    for (const [greeting, name, remedy] of cases) {
      await withServer({ hostname: "127.0.0.1", port: 0 }, greeting, async (port) => {
        await host.configure(`smtp_listen: 127.0.0.1:${port}`);
        const [busy, ...more] = problems(await host.findings("ports"));
        assertEquals([busy!.summary, more], [`smtp_listen 127.0.0.1:${port} is held by ${name}`, []]);
        assertMatch(busy!.remedy!, remedy);
      });
    }
  }));

test("doctor in socket mode adds how systemd's socket gets the port after that", () =>
  withHost((host) =>
    withServer({ hostname: "127.0.0.1", port: 0 }, "220 mx ESMTP Postfix\r\n", async (port) => {
      await host.configure(`mode: socket\nsmtp_listen: 127.0.0.1:${port}`);
      const [busy] = problems(await host.findings("ports"));
      assertStringIncludes(busy!.remedy!, "systemctl start gomail-smtp.socket gomail");
    })
  ));

test("doctor names any other program, also one that says nothing, and how to find out", () =>
  withHost((host) =>
    withServer({ hostname: "127.0.0.1", port: 0 }, "", async (port) => {
      await host.configure(`port: ${port}\nsmtp_listen: off\nlmtp_listen: 127.0.0.1:${port + 1}`);
      const [busy] = problems(await host.findings("ports"));
      // The kernel's tables name this very process, to those who may read them.
      assertMatch(busy!.summary, /^port 127\.0\.0\.1:\d+ is held by (?:deno|another program)$/);
      assertEquals(busy!.remedy, `\`ss -ltnp 'sport = :${port}'\` names it: stop it, or change port`);
    })
  ));

test("doctor looks at unix sockets: leftovers are free, others' and plain files are not", () =>
  withHost(async (host) => {
    await Deno.writeTextFile(`${host.dir}/file`, "");
    Deno.listen({ transport: "unix", path: `${host.dir}/stale` }).close();
    const path = `${host.dir}/used`;
    await withServer({ transport: "unix", path }, "220 x LMTP Dovecot\r\n", async () => {
      const entries = ["file", "stale", "used", "none"].map((name) => `unix:${host.dir}/${name}`);
      await host.configure(`smtp_listen: off\nlmtp_listen: ${entries.join(", ")}`);
      const found = (await host.findings("ports")).slice(2);
      assertEquals(brief(found), [
        `problem: lmtp_listen unix:${host.dir}/file is taken by a file that is no socket`,
        `ok: lmtp_listen unix:${host.dir}/stale is free`,
        `problem: lmtp_listen unix:${host.dir}/used is held by another program`,
        `ok: lmtp_listen unix:${host.dir}/none is free`,
      ]);
      assertStringIncludes(found[2]!.remedy!, `ss -lxp | grep -F ${path}`);
    });
  }));

test("doctor finds an address that this host does not have, and leaves port 0 alone", () =>
  withHost(async (host) => {
    await host.configure("smtp_listen: 192.0.2.1:2525, 127.0.0.1:0");
    const found = (await host.findings("ports")).slice(2);
    assertEquals(brief(found), [
      "problem: smtp_listen 192.0.2.1:2525 is not an address of this host",
      "skipped: smtp_listen 127.0.0.1:0 takes a free port",
    ]);
  }));

const healthOf = (checks: Record<string, unknown>, version = VERSION) => (_: Asked) =>
  Response.json({ status: "unhealthy", version, uptime: 7300, checks }, { status: 503 });

test("doctor shows what an unhealthy daemon says of itself, and misses its listeners", () =>
  withHost((host) => {
    const port = freePort();
    const detail =
      `Cannot listen on 127.0.0.1:${port}: no permission (ports under 1024 need CAP_NET_BIND_SERVICE)`;
    const checks = {
      store: { status: "failed", detail: "the store does not take writes" },
      smtp: { status: "degraded", detail },
      dns: { status: "ok" },
      odd: { status: "degraded", detail: "new \u001b[31m" },
    };
    return withFakeDaemon(healthOf(checks, "9.9.9"), async ({ socket, asked }) => {
      await host.configure(`control_socket: ${socket}\nsmtp_listen: 127.0.0.1:${port}`);
      const found = await host.findings("daemon,ports");
      assertEquals(asked.map(({ path }) => path), ["/health"]);
      assertEquals(brief(found.filter(({ check }) => check === "daemon")), [
        "ok: gomail 9.9.9 answers, up for 2 h",
        `notice: runs version 9.9.9, and this is ${VERSION}`,
        "problem: store: the store does not take writes",
        `problem: smtp: ${detail}`,
        "problem: odd: new \\u001b[31m",
        "ok: in order: dns",
      ]);
      const [api, , smtp] = problems(found.filter(({ check }) => check === "ports"));
      assertMatch(api!.summary, /is free: the daemon runs, and does not listen there$/);
      assertStringIncludes(api!.remedy!, "systemctl restart gomail");
      assertStringIncludes(smtp!.remedy!, "mode: socket");
      assert(!(await host.doctor()).out.includes("\u001b"));
    });
  }));

test("doctor has something to type for each check of /health that there is", async () => {
  const health = createHealth({
    clock: new FakeClock(),
    probeStore: () => Promise.reject(new Error("broken")),
    freeBytes: () => Promise.resolve(0),
    diskReserveBytes: () => 1,
    queue: () => ({
      running: true,
      paused: (["webhook", "smtp"] as const).map((carrier) => ({ carrier, lanes: ["a"] })),
    } as unknown as QueueStatus),
    smtpProblems: () => ["Cannot listen"],
    tlsProblem: () => "certificate and key do not belong together",
    dnsInTrouble: () => true,
    controlUp: () => false,
    hasSmarthost: () => true,
    draining: () => true,
  });
  const { checks } = await health();
  await withHost((host) =>
    withFakeDaemon(healthOf(checks), async ({ socket }) => {
      await host.configure(`control_socket: ${socket}`);
      const found = problems(await host.findings("daemon"));
      assertEquals(found.map(({ summary }) => summary.split(":")[0]), Object.keys(checks));
      for (const { summary, remedy } of found) assert(!remedy!.endsWith("says more"), summary);
    })
  );
});

test("doctor does not take another GoMail for the one that runs here", () =>
  withDaemon({}, async (other) => {
    const smtp = other.daemon.addresses.smtp[0]!;
    const checks = {
      smtp: { status: "degraded", detail: `Cannot listen on ${smtp}: the address is in use` },
    };
    await withHost((host) =>
      withFakeDaemon(healthOf(checks), async ({ socket }) => {
        await host.configure(`control_socket: ${socket}\nsmtp_listen: ${smtp}`);
        const held = problems(await host.findings("ports")).find(({ summary }) => summary.includes(smtp));
        assertMatch(held!.summary, /is held by/);
      })
    );
  }));

/** Findings about the certificate, as of so many days from now. */
const certificateIn = (host: Host, days = 0) =>
  host.findings("certificate", { now: () => Date.now() + days * DAY_MS });

testIf(
  hasProgram("openssl"),
  "no openssl",
  "doctor looks at the certificate's dates, name and chain",
  () =>
    withHost(async (host) => {
      const { chain, key, leaf } = await makeChain(host.dir);
      const use = (cert: string, more = "") =>
        host.configure(`tls_cert_file: ${cert}\ntls_key_file: ${key}\n${more}`);
      await use(chain);
      const good = brief(await certificateIn(host));
      assertMatch(good[0]!, /^ok: it is valid until \d{4}-\d\d-\d\d$/);
      assertEquals(good.slice(1), ["ok: it is for mail.example.com"]);
      assertMatch(brief(await certificateIn(host, 80))[0]!, /^problem: it expires in 9 days, on /);
      assertMatch(brief(await certificateIn(host, 91))[0]!, /^problem: it expired on /);
      const early = (await certificateIn(host, -2))[0]!;
      assertMatch(early.summary, /^it is not valid before /);
      assertStringIncludes(early.remedy!, "timedatectl");
      await use(leaf, "mail_hostname: mx.wild.example");
      const alone = await certificateIn(host);
      assertEquals(alone.map(({ status }) => status), ["ok", "ok", "notice"]);
      assertStringIncludes(alone[2]!.remedy!, "fullchain.pem");
      await use(`${host.dir}/backwards.pem`, "mail_hostname: a.b.wild.example");
      assertEquals(brief(await certificateIn(host)).slice(1), [
        "problem: it is for mail.example.com, *.wild.example, and not for mail_hostname a.b.wild.example",
        `problem: in ${host.dir}/backwards.pem certificate 1 is not signed by the one after it`,
      ]);
    }),
);

testIf(
  hasProgram("openssl"),
  "no openssl",
  "doctor does not call a certificate of six days late before it is, and sees an issuer's that is over",
  () =>
    withHost(async (host) => {
      const { chain, key } = await makeChain(host.dir, { root: 3650, middle: 4, leaf: 6 });
      await host.configure(`tls_cert_file: ${chain}\ntls_key_file: ${key}`);
      assertEquals(problems(await certificateIn(host, 3)), []);
      const late = brief(problems(await certificateIn(host, 5)));
      assertMatch(late[0]!, /^problem: it expires in 0 days, on /);
      assertMatch(late[1]!, /^problem: in .* certificate 2, of an issuer, expired on \d{4}-\d\d-\d\d$/);
    }),
);

testIf(
  hasProgram("openssl"),
  "no openssl",
  "doctor says once what is wrong with certificate files",
  () =>
    withHost(async (host) => {
      const { root, key } = await makeChain(host.dir);
      await host.configure(`tls_cert_file: ${root}\ntls_key_file: ${key}`);
      const all = await host.findings(undefined, { now: Date.now });
      assertEquals(problems(all).map(({ check }) => check), ["certificate", "daemon"]);
      assertMatch(problems(all)[0]!.summary, /^tls_key_file = .* does not belong to tls_cert_file/);
      await host.configure(
        `tls_cert_file: ${root}\ntls_key_file: ${host.dir}/root.key\nmail_hostname: root.example`,
      );
      const self = await certificateIn(host);
      assertStringIncludes(brief(self).join("\n"), "notice: it is self-signed");
      assertStringIncludes(brief(self).join("\n"), "problem: it is for no name");
      await host.configure(`tls_cert_file: /nowhere.pem\ntls_key_file: ${key}`);
      assertMatch(
        brief(await certificateIn(host))[0]!,
        /tls_cert_file = "\/nowhere\.pem" names a file that does not exist/,
      );
      await host.configure("tls_enabled: false");
      assertEquals((await certificateIn(host))[0]!.status, "skipped");
      await host.configure();
      const none = (await certificateIn(host))[0]!;
      assertEquals([none.status, none.summary], ["notice", "none is configured: a self-signed one is used"]);
    }),
);

test("a check that hangs or breaks is a finding, and costs nobody else's", async () => {
  const over = new AbortController();
  const checks: Check[] = [
    {
      name: "hangs",
      async run(_, say, signal) {
        say.ok("one", "before");
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        say.ok("two", "too late");
      },
    },
    { name: "breaks", run: () => Promise.reject(new Error("broken")) },
    { name: "works", run: async (_, say) => say.ok("one", "fine") },
  ];
  const found = await runChecks(checks, {} as Subject, over, { timeMs: 5, beginMs: 1000, atOnceMax: 8 });
  assertEquals(found.map(({ check, summary }) => `${check}: ${summary}`), [
    "hangs: before",
    "hangs: did not end within 0.005 s",
    "breaks: Cannot finish: broken",
    "works: fine",
  ]);
  assert(over.signal.aborted);
});

test("checks run a few at once, and those that there is no time for are told as not known", async () => {
  let [running, most] = [0, 0];
  const checks = Array.from({ length: 12 }, (_, i): Check => ({
    name: `c${i}`,
    async run(_, say) {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 60));
      running--;
      say.ok("one", "fine");
    },
  }));
  const limits = { timeMs: 1000, beginMs: 50, atOnceMax: 4 };
  const found = await runChecks(checks, {} as Subject, new AbortController(), limits);
  assertEquals(most, 4);
  assertEquals(found.map(({ id, status }) => `${id} ${status}`), [
    ...checks.slice(0, 4).map(({ name }) => `${name}.one ok`),
    ...checks.slice(4).map(({ name }) => `${name}.ended unknown`),
  ]);
});

test("doctor ends in time with a daemon that takes questions and never answers", () =>
  withHost((host) => {
    const answered = Promise.withResolvers<Response>();
    return withFakeDaemon(() => answered.promise, async ({ socket }) => {
      await host.configure(`control_socket: ${socket}`);
      const beganMs = performance.now();
      const found = await host.findings();
      const seconds = (performance.now() - beganMs) / 1000;
      assert(seconds < 15, `${seconds} s`);
      assertEquals(found.find(({ id }) => id === "daemon.answers")?.summary, NO_ANSWER);
      const asked = found.filter(({ check }) => ["queue", "receiver"].includes(check));
      assertEquals([...new Set(asked.map(({ status }) => status))], ["skipped"]);
      answered.resolve(new Response());
    });
  }));

testIf(
  await canMount(),
  "no mounts",
  "doctor finds a disk that is full, or has no room for more files",
  () =>
    withHost(async (host) => {
      const disk = await Tmpfs.mount(`${host.dir}/data`, "8m,nr_inodes=100");
      try {
        const found = await host.findings("disk");
        assertMatch(brief(found).join("\n"), /^problem: \d+ inodes free at .*: large mail is refused/m);
        await disk.fill();
        assertMatch(
          brief(await host.findings("disk"))[0]!,
          /^problem: Cannot write .*: the disk takes no files/,
        );
      } finally {
        await disk.unmount();
      }
    }),
);
