/**
 * A Postfix of our own in front of the daemon: its configuration, queue and log in a temporary directory, its
 * ports on loopback addresses that nobody else uses. It knows no way for mail but to us, and the machine's own
 * Postfix, if there is one, is not touched. Needs root, as Postfix does.
 */

import { until } from "./until.ts";

const PORT = 2525;
const MASTER_MS_MAX = 60_000;
const GREETING_MS_MAX = 15_000;

export interface PostfixParts {
  /** The filter's door, `host:port`: asked before the queue, while the client waits. */
  proxy: string;
  /** The LMTP door, `host:port`: what the queue delivers to. */
  lmtp: string;
}

export class Postfix {
  private constructor(
    private readonly dir: string,
    /** Where mail goes through the filter. */
    readonly beforeQueue: string,
    /** Where mail is queued, and goes on by LMTP. */
    readonly afterQueue: string,
  ) {}

  /** Resolves when both ports answer. */
  static async start(dir: string, parts: PostfixParts): Promise<Postfix> {
    const random = crypto.getRandomValues(new Uint8Array(2));
    const net = `127.${100 + random[0]! % 100}.${random[1]}`;
    const postfix = new Postfix(dir, `${net}.1:${PORT}`, `${net}.2:${PORT}`);
    // Its processes run as a user of their own, who must get to the queue.
    await Deno.chmod(dir, 0o755);
    for (const name of ["etc", "queue", "state"]) await Deno.mkdir(`${dir}/${name}`);
    await Deno.writeTextFile(`${dir}/etc/main.cf`, mainCf(dir, parts));
    await Deno.writeTextFile(`${dir}/etc/master.cf`, masterCf(postfix, parts));
    await run("chown", "postfix", `${dir}/state`);
    await letSettle(`${dir}/etc`);
    await postfix.#command("start");
    try {
      await until(() => answers(postfix.beforeQueue), "Postfix to answer", MASTER_MS_MAX);
    } catch (error) {
      const log = await postfix.log();
      await postfix.stop();
      throw new Error(`Cannot start Postfix: ${log}`, { cause: error });
    }
    return postfix;
  }

  /** What it said so far. */
  async log(): Promise<string> {
    return await Deno.readTextFile(`${this.dir}/maillog`).catch(() => "");
  }

  /** How many mails wait in its queue. */
  async queued(): Promise<number> {
    const output = await run("postqueue", "-c", `${this.dir}/etc`, "-j");
    return output.split("\n").filter((line) => line.startsWith("{")).length;
  }

  async stop(): Promise<void> {
    const pid = Number((await Deno.readTextFile(`${this.dir}/queue/pid/master.pid`).catch(() => "0")).trim());
    await this.#command("stop");
    await until(() => pid === 0 || !exists(`/proc/${pid}`), "Postfix to stop");
  }

  async #command(command: string): Promise<void> {
    await run("postfix", "-c", `${this.dir}/etc`, command);
  }
}

export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

export async function run(command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  const said = new TextDecoder();
  if (!success) throw new Error(`Cannot run ${command} ${args.join(" ")}: ${said.decode(stderr)}`);
  return said.decode(stdout);
}

/**
 * Every program of Postfix reads a main.cf younger than two seconds again and again, in case somebody is still
 * writing it (dict_load_file_xp() in src/util/dict.c). Nobody is, and a test has dozens of such reads.
 */
export async function letSettle(etc: string): Promise<void> {
  const settled = Date.now() / 1000 - 60;
  for (const name of ["main.cf", "master.cf"]) await Deno.utime(`${etc}/${name}`, settled, settled);
}

/** The port is bound before the service behind it works: only a greeting counts, and not for ever. */
export async function answers(address: string): Promise<boolean> {
  const [hostname, port] = address.split(":");
  try {
    using connection = await Deno.connect({ hostname: hostname!, port: Number(port) });
    const late = setTimeout(() => connection.close(), GREETING_MS_MAX);
    const bytes = await connection.read(new Uint8Array(100));
    clearTimeout(late);
    return (bytes ?? 0) > 0;
  } catch {
    // Not yet, or not in time.
    return false;
  }
}

/** Only what a set-up like ours needs; everything that could lead elsewhere ends in an error. */
function mainCf(dir: string, { lmtp }: PostfixParts): string {
  return `
compatibility_level = 3.6
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
queue_directory = ${dir}/queue
data_directory = ${dir}/state
maillog_file = ${dir}/maillog
maillog_file_prefixes = ${dir}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = front.example.com
mydestination =
mynetworks = 127.0.0.0/32
relay_domains = example.com
relay_recipient_maps =
smtpd_relay_restrictions = reject_unauth_destination
smtpd_peername_lookup = no
relay_transport = lmtp:inet:${lmtp}
lmtp_send_xforward_command = yes
default_transport = error:no way out of here
local_transport = error:no mailboxes here
notify_classes =
alias_maps =
alias_database =
`;
}

/** service, type, private, unprivileged, chroot, wakeup, processes, command. */
function masterCf({ beforeQueue, afterQueue }: Postfix, { proxy }: PostfixParts): string {
  const inward = [
    "rewrite:trivial-rewrite",
    "bounce",
    "defer:bounce",
    "trace:bounce",
    "error",
    "retry:error",
  ];
  return [
    `${beforeQueue} inet n - n - - smtpd -o smtpd_proxy_filter=${proxy}`,
    `${afterQueue} inet n - n - - smtpd`,
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "showq unix n - n - - showq",
    "postlog unix-dgram n - n - 1 postlogd",
    "anvil unix - - n - 1 anvil",
    ...[...inward, "proxymap", "lmtp"].map((entry) => {
      const [name, program = name] = entry.split(":");
      return `${name} unix - - n - - ${program}`;
    }),
    "",
  ].join("\n");
}

/** Debian's package, and the right to run it. */
export async function hasPostfix(): Promise<boolean> {
  return exists("/usr/sbin/postfix") && exists("/usr/lib/postfix/sbin/master") && Deno.uid() === 0;
}
