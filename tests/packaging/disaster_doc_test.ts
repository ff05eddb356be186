/**
 * The page about disasters, followed to the letter: its commands are typed in their order on a host that is lost where
 * its restore begins, and what it says of that restore is so.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { FILES } from "../../packaging/build/deb_files.ts";
import { newWebhookSecret } from "../../src/base/secret.ts";
import { type Receiver, startReceiver } from "../../src/cli/demo/receiver.ts";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { LoadConnection } from "../load/smtp_load.ts";
import { type Command, commandsIn } from "../monitoring/runbooks.ts";
import { TEST_TOKEN } from "../support/daemon_process.ts";
import { Api } from "../support/disaster.ts";
import { idOf, plainMail, SENDER_ZONE } from "../support/harness.ts";
import { hasProgram } from "../support/program.ts";
import { test, testIf, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";
import { Host, type Words } from "./disaster_host.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const PAGE = "packaging/doc/disaster-recovery.md";
const text = await Deno.readTextFile(`${ROOT}${PAGE}`);
const PROGRAMS = ["bash", "curl", "openssl", "diff", "age", "age-keygen"];
const missing = PROGRAMS.filter((name) => !hasProgram(name));
const LOSS = "Restore on a new host";

/** What is not as it is on a host, word for word. */
const FORMS = [
  "systemctl list-timers gomail-backup.timer --no-pager",
  "systemctl start gomail-backup",
  "systemctl stop gomail gomail-smtp.socket gomail-control.socket gomail-backup.timer",
  "systemctl start gomail gomail-backup.timer",
  "systemctl reload gomail",
  "systemctl disable --now gomail-smtp.socket",
  "systemctl restart gomail",
  "sudoedit /etc/gomail/gomail.yaml",
  "chown -R gomail:gomail /var/backups/gomail",
  "rsync -a --ignore-existing --exclude '.gomail-backup-*' root@mx.example.com:/ COPIES/",
  "rsync -a COPIES/ /var/backups/gomail/",
  "rclone copy --immutable --exclude '.gomail-backup-*/**' /var/backups/gomail REMOTE:gomail",
  "restic -r REPOSITORY --password-file /etc/restic/password backup /var/backups/gomail",
  "restic -r REPOSITORY --password-file /etc/restic/password check",
];

interface Section {
  heading: string;
  commands: Command[];
}

/** Blocks inside a list are indented. */
function sections(): Section[] {
  return text.replace(/^ {3}/gm, "").split(/^## /m).slice(1).map((part) => ({
    heading: part.split("\n", 1)[0]!,
    commands: commandsIn(part),
  }));
}

const bare = (command: string) => command.replace(/^sudo (-u gomail )?/, "");

test("The page is in the package, leads to runbooks that there are, and knows one form of what is not tried", () => {
  const packaged = FILES.find(({ path }) => path === "usr/share/doc/gomail/disaster-recovery.md.gz");
  assertEquals(packaged?.mode, 0o644);
  const links = [...text.matchAll(/\]\((runbooks\/\w+\.md)\)/g)].map(([, path]) => path!);
  assert(links.length >= 3);
  for (const path of links) assert(Deno.statSync(`${ROOT}packaging/doc/${path}`).isFile, path);
  const typed = sections().flatMap(({ commands }) => commands.map((command) => bare(command.text)));
  const programs = new Set(FORMS.map((form) => form.split(" ", 1)[0]!));
  const foreign = typed.filter((command) => programs.has(command.split(" ", 1)[0]!));
  assertEquals([...new Set(foreign)].sort(), [...FORMS].sort());
});

interface Play {
  host: Host;
  dir: string;
  receiver: Receiver;
  words: Words;
}

/** Over what is kept in the database. */
const MAIL = plainMail({}, `${"x".repeat(76)}\r\n`.repeat(2_000));

/** A mail that gets its 250. */
async function sendOne({ host }: Play): Promise<string> {
  const connection = await LoadConnection.open(host.daemon.smtpPort);
  const mail = { sender: "alice@sender.example", bytes: new TextEncoder().encode(MAIL) };
  const { text } = await connection.send(mail, "bob@example.com");
  await connection.close();
  return idOf(text);
}

/** The newest plain backup of those that there are. */
function newestFile(host: Host): string {
  const names = [...Deno.readDirSync(host.place("/var/backups/gomail"))].map(({ name }) => name);
  const times = names.filter((name) => name.endsWith(".tar")).map((name) => ({
    name,
    at: Deno.statSync(host.place(`/var/backups/gomail/${name}`)).mtime!.getTime(),
  }));
  return times.sort((a, b) => b.at - a.at)[0]?.name ?? "none";
}

/** What a command is here that a stand-in knows nothing of. */
async function effect({ host, words }: Play, command: string): Promise<void> {
  if (/^systemctl stop gomail /.test(command)) await host.stop();
  else if (/^systemctl start gomail /.test(command)) await host.start();
  else if (command === "systemctl start gomail-backup") {
    await host.type("gomail backup create --incremental", words);
  } else if (command === "systemctl reload gomail") {
    assertEquals((await host.daemon.reload()).msg, "Configuration reloaded");
  }
}

/** Types a section; gives what ended as the page does not say. */
async function follow(play: Play, { heading, commands }: Section, done: Set<string>): Promise<string[]> {
  const { host, words } = play;
  const wrong: string[] = [];
  for (const { text: command, mayEndWith } of commands) {
    if (done.has(command)) continue;
    done.add(command);
    words.FILE = newestFile(host);
    if (command.includes("SELECTOR")) {
      // By the control socket: the page has changed the token.
      words.SELECTOR = JSON.parse((await host.type("gomail dkim list --json", words)).out).items[0].selector;
    }
    const { code, out, err } = await host.type(command, words);
    if (!mayEndWith.includes(code)) {
      wrong.push(`${heading}: ${command}\nends with ${code}: ${out.slice(0, 500)}${err}`);
    }
    await effect(play, bare(command));
    if (command.startsWith("age-keygen -y")) words.RECIPIENT = out.trim();
  }
  return wrong;
}

/** What the page says of a restored host, asked of it. */
async function checkRestored({ host, receiver }: Play, id: string, secret: string): Promise<void> {
  const api = new Api(host.daemon);
  const { status, bytes } = await api.api(`/v1/messages/${id}/raw`);
  assertEquals(status, 200);
  assert(new TextDecoder().decode(bytes).endsWith(MAIL));
  assertEquals((await Deno.readTextFile(host.place("/etc/gomail/webhook_secret"))).trim(), secret);
  const owed = () =>
    receiver.requests.filter(({ body, verified }) => verified && new TextDecoder().decode(body).includes(id));
  await until(() => owed().length > 1, "what was owed");
  assertEquals(new Set(owed().map(({ headers }) => headers["webhook-id"])).size, 1);
}

async function withPlay(secret: string, fn: (play: Play) => Promise<void>): Promise<void> {
  await withTempDir(async (dir) => {
    const zone = await startZoneServer({ records: SENDER_ZONE });
    const receiver = await startReceiver({ secret });
    const host = new Host(dir, { dns_servers: [zone.address], webhook_url: receiver.url, disk_reserve: 0 });
    const words: Words = { COPIES: `${dir}/copies`, KEYFILE: `${dir}/key`, DOMAIN: "example.com" };
    await Deno.mkdir(words.COPIES!);
    try {
      await host.equip();
      await fn({ host, dir, receiver, words });
    } finally {
      await host.lose();
      await receiver.close();
      await zone.close();
    }
  });
}

testIf(
  missing.length === 0,
  `no ${missing.join(", no ")}`,
  "Followed to the letter, the page brings a host back",
  () => {
    const secret = newWebhookSecret();
    return withPlay(secret, async (play) => {
      const { host, receiver, words } = play;
      await host.install(TEST_TOKEN, secret);
      receiver.answerWith(() => ({ status: 503 }));
      const id = words.ID = await sendOne(play);
      const made = await new Api(host.daemon).post("/v1/tokens", { name: "app", scopes: ["read"] });
      words.TOKEN = made.json.id;
      await until(() => receiver.count > 0, "a first attempt");
      const wrong: string[] = [];
      const done = new Set<string>();
      for (const section of sections()) {
        if (section.heading === LOSS) {
          await host.lose();
          await host.install("another-t0ken-6b1e9d-Yz", newWebhookSecret());
          receiver.answerWith(() => ({ status: 200 }));
          done.clear();
        }
        wrong.push(...await follow(play, section, done));
        if (section.heading === LOSS) {
          assertEquals(wrong.join("\n"), "");
          await checkRestored(play, id, secret);
        }
      }
      assertEquals(wrong.join("\n"), "");
      assertMatch(words.RECIPIENT!, /^age1/);
      assert(done.size > 30, `only ${done.size} commands`);
    });
  },
);
