/**
 * `try.ts ROOT WORK`, run by main.ts in a network of its own: what the Containerfile made of ROOT, and what comes of it when
 * it runs as the StatefulSet says, with the ConfigMap's own config. One replica's life: it refuses the example's secrets,
 * starts, takes a mail, takes a changed secret, stops, and starts again with what it had.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { parseDuration } from "../../src/config/notation.ts";
import { run as must } from "../../packaging/build/process.ts";
import {
  at,
  containerOf,
  EXAMPLE_FILE,
  list,
  one,
  podOf,
  readSources,
  rendered,
  RESTORE,
} from "../packaging/kubernetes/manifests.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { until } from "../support/until.ts";
import { readContainerfile } from "./containerfile.ts";
import { configOf, type Life, type Pod, project, startPod, valuesOf } from "./pod.ts";

const HERE = new URL("./", import.meta.url).pathname;
const [root = "", work = ""] = Deno.args;
const counts = { passed: 0, failed: 0 };

async function check(what: string, fn: () => Promise<string | void> | string | void): Promise<void> {
  try {
    const measured = await fn();
    counts.passed++;
    console.log(`ok    ${what}${measured ? ` (${measured})` : ""}`);
  } catch (error) {
    counts.failed++;
    console.log(
      `FAIL  ${what}\n${error instanceof Error ? error.message : error}`.replace(/\n/g, "\n      | "),
    );
  }
}

const newToken = () => crypto.getRandomValues(new Uint8Array(24)).toBase64();
const newSecret = () => "whsec_" + crypto.getRandomValues(new Uint8Array(32)).toBase64();

const sources = await readSources();
const resources = rendered(sources);
const { config: image } = readContainerfile(sources.containerfile);
const config = configOf(sources);
const { runAsUser: user } = at(podOf(resources), "spec", "securityContext");
const token = newToken();
const pod: Pod = {
  root,
  dir: `${work}/pod`,
  image,
  resources,
  values: valuesOf(sources, { bearer_token: token, webhook_secret: newSecret() }),
  env: {},
};
await Deno.mkdir(pod.dir);
await must("ip", ["link", "set", "lo", "up"]);

/** The cluster's name server, which knows nobody: NXDOMAIN to every question (RFC 1035 section 4.1.1). */
async function serveNames(): Promise<void> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 53 });
  for await (const [question, from] of socket) {
    const answer = Uint8Array.from(question);
    answer.set([0x85, 0x83], 2);
    // No additional records: EDNS is not ours.
    answer.set([0, 0, 0, 0, 0, 0], 6);
    const end = answer.indexOf(0, 12) + 5;
    await socket.send(answer.subarray(0, end), from);
  }
}
// Until the process ends.
serveNames();

const portOf = (name: string): number =>
  list(containerOf(resources), "ports").find((port) => port.name === name)!.containerPort as number;

/** A probe, as the kubelet makes it. */
async function probe(name: string): Promise<number> {
  const { path, port } = at(containerOf(resources), name, "httpGet");
  try {
    const response = await fetch(`http://127.0.0.1:${portOf(port)}${path}`);
    await response.body?.cancel();
    return response.status;
  } catch {
    // Nobody listens yet, or any more.
    return 0;
  }
}

async function callApi(path: string, bearer?: string): Promise<{ status: number; text: string }> {
  const headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
  const response = await fetch(`http://127.0.0.1:${portOf("api")}${path}`, { headers });
  return { status: response.status, text: await response.text() };
}

async function sendMail(subject: string): Promise<void> {
  const { primary_domain: domain } = config;
  const smtp = await SmtpConversation.connect(portOf("smtp"));
  await smtp.expect(new RegExp(`^220 ${config.mail_hostname}`));
  await smtp.command("EHLO sender.test", /^250/);
  await smtp.command("MAIL FROM:<alice@sender.test>", /^250/);
  await smtp.command(`RCPT TO:<app@${domain}>`, /^250/);
  await smtp.command("DATA", /^354/);
  smtp.send(
    `From: Alice <alice@sender.test>\r\nTo: app@${domain}\r\nSubject: ${subject}\r\n\r\nHello.\r\n.\r\n`,
  );
  await smtp.expect(/^250/);
  await smtp.command("QUIT", /^221/);
}

async function isReady(life: Life): Promise<string> {
  const beganMs = performance.now();
  let code: number | null = null;
  life.ended.then((is) => code = is);
  await until(async () => code !== null || await probe("readinessProbe") === 200, "the replica to be ready")
    .catch((error) => Promise.reject(new Error(`${error.message}\n${life.log()}`)));
  assertEquals(code, null, life.log());
  return `${Math.round(performance.now() - beganMs)} ms`;
}

async function stops(life: Life): Promise<string> {
  const graceMs = at(podOf(resources), "spec", "terminationGracePeriodSeconds") * 1000;
  const beganMs = performance.now();
  life.signal(image.stopSignal as Deno.Signal);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<string>((resolve) => timer = setTimeout(() => resolve("late"), graceMs));
  const code = await Promise.race([life.ended, late]);
  clearTimeout(timer);
  assertEquals(code, 0, life.log());
  const tookMs = performance.now() - beganMs;
  assert(tookMs < parseDuration(config.shutdown_timeout!)! + 5000, `it took ${tookMs} ms`);
  return `${Math.round(tookMs)} ms of ${graceMs}`;
}

async function checkImage(): Promise<void> {
  await check("no config, token or secret is in the image", async () => {
    const found = [...Deno.readDirSync(`${root}/etc/gomail`)].map(({ name }) => name);
    assertEquals(found, []);
    const anywhere = await must("find", [
      root,
      "-xdev",
      "-name",
      "*_secret*",
      "-o",
      "-xdev",
      "-name",
      "bearer_token*",
    ]);
    assertEquals(anywhere, "");
    const values = await must("sh", [
      "-c",
      `grep -rIlE 'whsec_[A-Za-z0-9+/=]{40}' ${root}/etc ${root}/var || true`,
    ]);
    assertEquals(values, "");
  });
  await check("the user has the ids that the StatefulSet names", async () => {
    const passwd = await Deno.readTextFile(`${root}/etc/passwd`);
    assertMatch(
      passwd,
      new RegExp(`^gomail:[^:]*:${user}:${user}:.*:/var/lib/gomail:/usr/sbin/nologin$`, "m"),
    );
    assertEquals(image.user, `${user}:${user}`);
    const { uid, mode } = await Deno.stat(`${root}/var/lib/gomail`);
    assertEquals([uid, mode! & 0o777], [user, 0o700]);
  });
  await check("no systemd, no lists of packages, no package file", async () => {
    for (const path of ["lib/systemd/systemd", "usr/lib/systemd/systemd"]) {
      assert(!await Deno.lstat(`${root}/${path}`).then(() => true, () => false), path);
    }
    assertEquals([...Deno.readDirSync(`${root}/var/lib/apt/lists`)].map(({ name }) => name), []);
    assertEquals((await must("find", [root, "-xdev", "-name", "gomail_*.deb"])).trim(), "");
    const kib = (await must("du", ["-skx", root])).split("\t")[0];
    return `${Math.round(Number(kib) / 1024)} MB`;
  });
}

/** What this executable can't do (packaging/README.md) is left out, and said. */
async function leaveOutTls(): Promise<void> {
  const version = await must(`${HERE}run_step`, [root, "", "", "gomail version"]);
  if (!version.includes("packaging-test runtime")) return;
  pod.env.MAIL_TLS_ENABLED = "false";
  console.log("note  without STARTTLS: the package has the packaging-test runtime");
}

async function checkRefusals(): Promise<void> {
  await check("the example's secrets are refused, and not shown", async () => {
    const example = at(sources.base.files[EXAMPLE_FILE]![0], "stringData");
    const life = await startPod({ ...pod, values: { ...pod.values, ...example } });
    assertEquals(await life.ended, 1);
    assertMatch(life.log(), /bearer_token .*\n.*could be guessed/);
    assertMatch(life.log(), /webhook_secret/);
    assert(!life.log().includes(example.bearer_token), "the token is in the log");
  });
}

async function checkConfinement(life: Life): Promise<void> {
  const status = await Deno.readTextFile(`/proc/${life.pid}/status`);
  const field = (name: string) =>
    new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1]?.replace(/\s+/g, " ").trim();
  await check("it is process 1, that user, without a capability or a way to one", () => {
    assertEquals(field("NSpid")?.split(" ").pop(), "1");
    assertEquals(field("Uid"), Array(4).fill(user).join(" "));
    assertEquals(field("Gid"), Array(4).fill(user).join(" "));
    assertEquals(field("Groups"), `${user}`);
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
      assertEquals(field(set), "0".repeat(16), set);
    }
    assertEquals(field("NoNewPrivs"), "1");
  });
  await check("its root and its config are read-only, and what it may write it can", async () => {
    for (const path of ["/", "/usr/bin", "/var/lib", "/var/backups/gomail", "/etc/gomail", "/dev", "/run"]) {
      const { code } = await life.exec("touch", `${path}/new`);
      assert(code !== 0, path);
    }
    for (const path of ["/var/lib/gomail", "/run/gomail", "/tmp"]) {
      assertEquals(await life.exec("sh", "-c", `touch ${path}/new && rm ${path}/new`), {
        code: 0,
        out: "",
        err: "",
      });
    }
  });
  await check("its store is closed to others, and the disk's own directory is left alone", async () => {
    const dir = `${pod.dir}/data/${config.data_dir!.split("/").pop()}`;
    const { uid, mode } = await Deno.stat(dir);
    assertEquals([uid, mode! & 0o777], [user, 0o700]);
    const open = await must("find", [dir, "-type", "f", "-perm", "/077"]);
    assertEquals(open, "");
    assert((await Deno.stat(`${pod.dir}/data/lost+found`)).isDirectory);
  });
  await check("its log warns of nothing but what is known", () => {
    const warned = life.log().split("\n").filter((line) => line.startsWith("{")).map((line) =>
      JSON.parse(line)
    )
      .filter(({ level }) => level !== "info" && level !== "debug").map(({ msg }) => msg);
    const known = /listen_address is reachable|outbound_transport works without encryption|self-signed/;
    assertEquals(warned.filter((msg) => !known.test(msg)), []);
    return `${warned.length} known`;
  });
  return await check("memory at rest is within what is asked for", async () => {
    const rss = /^VmRSS:\s+(\d+) kB$/m.exec(await Deno.readTextFile(`/proc/${life.pid}/status`))![1];
    const asked = Number.parseInt(at(containerOf(resources), "resources", "requests", "memory"));
    assert(Number(rss) / 1024 < asked, `${rss} kB`);
    return `${Math.round(Number(rss) / 1024)} of ${asked} MiB`;
  });
}

async function checkWork(life: Life): Promise<void> {
  await check("all probes are answered", async () => {
    for (const name of ["startupProbe", "livenessProbe", "readinessProbe"]) {
      assertEquals(await probe(name), 200, name);
    }
  });
  await check("a mail is taken on the pod's SMTP port", () => sendMail("From a pod"));
  await check("metrics are where Prometheus asks", async () => {
    const monitor = rendered(sources, ["monitoring"]);
    const { port, path } = list(one(monitor, "ServiceMonitor"), "spec", "endpoints")[0] as {
      port: string;
      path: string;
    };
    const text = await (await fetch(`http://127.0.0.1:${portOf(port)}${path}`)).text();
    assertMatch(text, /^gomail_build_info\{.*\} 1$/m);
    assertMatch(text, /^gomail_emails_processed_total\{.*\} 1$/m);
  });
  await check("`kubectl exec` finds the control socket", async () => {
    const messages = await life.exec("gomail", "message", "list");
    assertEquals([messages.code, messages.err], [0, ""]);
    assertMatch(messages.out, /alice@sender\.test/);
    const queue = await life.exec("gomail", "queue", "list", "--state", "all", "--json");
    assertEquals([queue.code, queue.err], [0, ""]);
    assertMatch(queue.out, /webhook/);
  });
  // The zones and the mail hosts of a try-out are nobody's.
  const ABOUT_THE_PLACE = "config,disk,files,clock,ports,certificate,daemon,queue";
  await check("`gomail doctor` finds nothing wrong with the place", async () => {
    const { code, out } = await life.exec("gomail", "doctor", "--only", ABOUT_THE_PLACE);
    assertEquals(code, 0, out);
    assertMatch(out, /^0 problems/m);
  });
  await check("and what it says to type is nothing of systemd's", async () => {
    const { out } = await life.exec("gomail", "doctor", "--only", "backup");
    assertMatch(out, /^notice +backup .*\n +-> `gomail backup create --output - > FILE` makes one/m);
  });
  await check("the API takes the Secret's token, and no other", async () => {
    assertEquals((await callApi("/v1/messages", token)).status, 200);
    assertEquals((await callApi("/v1/messages", newToken())).status, 401);
  });
  await check("a changed Secret is taken with SIGHUP", async () => {
    const fresh = newToken();
    pod.values.bearer_token = fresh;
    await project(pod, "config");
    const reload = await life.exec("sh", "-c", "kill -HUP 1");
    assertEquals([reload.code, reload.err], [0, ""]);
    await until(
      async () => (await callApi("/v1/messages", fresh)).status === 200,
      "the new token to be taken",
    );
    assertEquals((await callApi("/v1/messages", token)).status, 401);
  });
}

/** Through a shell, since what is read of `exec` here is text. */
async function streamsBackup(life: Life): Promise<void> {
  const made = await life.exec("sh", "-c", "gomail backup create --output - > /tmp/gomail-0.tar");
  assertEquals([made.code, made.out], [0, ""], made.err);
  const verified = await life.exec("sh", "-c", "gomail backup verify - < /tmp/gomail-0.tar");
  assertEquals(verified.code, 0, verified.err);
  assertMatch(verified.out, /^sound: full backup of .*, 1 message, /);
  await Deno.rename(`${pod.dir}/tmp/gomail-0.tar`, backup);
}

/** A pod of components/restore on a new volume, and then the server on that. */
async function comesBack(): Promise<void> {
  await must("rm", ["-rf", `${pod.dir}/data`]);
  const waiting = await startPod({ ...pod, resources: rendered(sources, [RESTORE]) });
  await Deno.copyFile(backup, `${pod.dir}/tmp/gomail-0.tar`);
  await Deno.chmod(`${pod.dir}/tmp/gomail-0.tar`, 0o644);
  const restored = await waiting.exec("sh", "-c", "gomail restore - < /tmp/gomail-0.tar");
  assertEquals(restored.code, 0, restored.err);
  assertEquals(await probe("readinessProbe"), 0);
  waiting.signal("SIGTERM");
  await waiting.ended;
  const server = await startPod(pod);
  await isReady(server);
  const messages = await server.exec("gomail", "message", "list", "--json");
  assertMatch(messages.out, /alice@sender\.test/);
  await stops(server);
}

await checkImage();
await leaveOutTls();
await checkRefusals();
const first = await startPod(pod);
await check("it is soon ready with the ConfigMap's config", () => isReady(first));
await checkConfinement(first);
await checkWork(first);
const backup = `${work}/gomail-0.tar`;
await check("a backup streams out of it, and is sound", () => streamsBackup(first));
await check("it stops in time, with code 0", () => stops(first));
const second = await startPod(pod);
await check("it starts again on its volume", () => isReady(second));
await check("and has the mail still", async () => {
  const messages = await second.exec("gomail", "message", "list", "--json");
  assertMatch(messages.out, /alice@sender\.test/);
});
await check("it stays up for the load balancer's sake while preStop runs", async () => {
  const stop = await second.exec(
    ...list(containerOf(resources), "lifecycle", "preStop", "exec", "command").map(String),
  );
  assertEquals([stop.code, stop.err, await probe("readinessProbe")], [0, "", 200]);
});
await check("and stops again", () => stops(second));
await check("a lost volume comes back from the backup", comesBack);
console.log(`${counts.passed} passed, ${counts.failed} failed`);
Deno.exit(counts.failed === 0 ? 0 : 1);
