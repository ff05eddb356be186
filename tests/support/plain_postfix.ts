/**
 * A Postfix that nobody has set up yet: Debian's own main.cf and master.cf, with its directories in a temporary
 * one and its port 25 on a loopback address of its own. What `gomail postfix` prints is meant for such a one.
 * Nothing that it sends leaves the machine: all of it goes to smtp-sink(1), which comes with Postfix.
 */

import { answers, exists, letSettle, run } from "./postfix.ts";
import { until } from "./until.ts";

const PORT = 2525;
const MASTER_MS_MAX = 60_000;
/** letSettle() for what a script does between two of its own edits. */
const SETTLING = `
postconf() { touch -d '1 minute ago' "$MAIL_CONFIG/main.cf" "$MAIL_CONFIG/master.cf"; command postconf "$@"; }
postfix() { touch -d '1 minute ago' "$MAIL_CONFIG/main.cf" "$MAIL_CONFIG/master.cf"; command postfix "$@"; }
`;

export class PlainPostfix {
  #sink: Deno.ChildProcess | null = null;

  private constructor(
    private readonly dir: string,
    /** What strangers connect to, and what master.cf calls it. */
    readonly port25: string,
    /** Free for a listener that takes our own outgoing mail. */
    readonly outlet: string,
    private readonly sink: string,
  ) {}

  static async start(dir: string): Promise<PlainPostfix> {
    const random = crypto.getRandomValues(new Uint8Array(2));
    const net = `127.${100 + random[0]! % 100}.${random[1]}`;
    const postfix = new PlainPostfix(dir, `${net}.1:${PORT}`, `${net}.2:${PORT}`, `${net}.3:${PORT}`);
    await Deno.chmod(dir, 0o755);
    for (const name of ["etc", "queue", "state", "sent"]) await Deno.mkdir(`${dir}/${name}`);
    for (const name of ["state", "sent"]) await run("chown", "postfix", `${dir}/${name}`);
    const [main, master] = await Promise.all(
      ["main.cf.debian", "master.cf.dist"].map((name) => Deno.readTextFile(`/usr/share/postfix/${name}`)),
    );
    await Deno.writeTextFile(`${dir}/etc/main.cf`, main! + postfix.#mainCf());
    await Deno.writeTextFile(
      `${dir}/etc/master.cf`,
      master!.replace(/^smtp( +inet)/m, `${postfix.port25}$1`),
    );
    try {
      await letSettle(`${dir}/etc`);
      await postfix.#startSink();
      await run("postfix", "-c", `${dir}/etc`, "start");
      await until(() => answers(postfix.port25), "Postfix to answer", MASTER_MS_MAX);
    } catch (error) {
      const log = await postfix.log();
      await postfix.stop();
      throw new Error(`Cannot start Postfix: ${log}`, { cause: error });
    }
    return postfix;
  }

  /** Its own directories and interfaces; loopback clients are strangers, and mail for others goes to the sink. */
  #mainCf(): string {
    const { dir } = this;
    return `
queue_directory = ${dir}/queue
data_directory = ${dir}/state
maillog_file = ${dir}/maillog
maillog_file_prefixes = ${dir}
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = front.example.net
mynetworks = 127.0.0.0/32
default_transport = smtp:[${this.sink.replace(":", "]:")}
alias_maps =
alias_database =
notify_classes =
postscreen_greet_wait = 1s
`;
  }

  async #startSink(): Promise<void> {
    const args = ["-u", "postfix", "-R", `${this.dir}/sent`, "-d", "mail.", this.sink, "10"];
    this.#sink = new Deno.Command("smtp-sink", { args, stdout: "null", stderr: "null" }).spawn();
    await until(() => answers(this.sink), "smtp-sink to answer", MASTER_MS_MAX);
  }

  /** Runs a script as root would, for this instance. Gives its exit code and what it said on stderr. */
  async sh(script: string): Promise<{ code: number; err: string }> {
    const child = new Deno.Command("sh", {
      env: { MAIL_CONFIG: `${this.dir}/etc` },
      stdin: "piped",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(SETTLING + script));
    await writer.close();
    const { code, stderr } = await child.output();
    await letSettle(`${this.dir}/etc`);
    return { code, err: new TextDecoder().decode(stderr) };
  }

  /** Names in its config directory. */
  async listing(): Promise<string[]> {
    const names = [];
    for await (const { name } of Deno.readDir(`${this.dir}/etc`)) names.push(name);
    return names.sort();
  }

  /** `postconf -n`, `-M` or `-P`. */
  postconf(flag: string): Promise<string> {
    return run("postconf", "-c", `${this.dir}/etc`, flag);
  }

  /** All three, as `--check` wants them. */
  async settings(): Promise<string> {
    return (await this.postconf("-n")) + (await this.postconf("-M")) + (await this.postconf("-P"));
  }

  /** The files themselves: what is set twice must not change a byte. */
  async files(): Promise<string[]> {
    return await Promise.all(
      ["main", "master"].map((name) => Deno.readTextFile(`${this.dir}/etc/${name}.cf`)),
    );
  }

  async log(): Promise<string> {
    return await Deno.readTextFile(`${this.dir}/maillog`).catch(() => "");
  }

  /** Every mail that left, as smtp-sink wrote it down: with an empty line at its end, once it is whole. */
  async sent(): Promise<string[]> {
    const mails: string[] = [];
    for await (const { name } of Deno.readDir(`${this.dir}/sent`)) {
      mails.push(await Deno.readTextFile(`${this.dir}/sent/${name}`));
    }
    return mails.filter((mail) => mail.endsWith("\n\n"));
  }

  /** How many mails wait in its queue. */
  async queued(): Promise<number> {
    const output = await run("postqueue", "-c", `${this.dir}/etc`, "-j");
    return output.split("\n").filter((line) => line.startsWith("{")).length;
  }

  async stop(): Promise<void> {
    // A test may have stopped it already: the file is left then, and to stop it once more fails.
    const pid = Number((await Deno.readTextFile(`${this.dir}/queue/pid/master.pid`).catch(() => "0")).trim());
    await this.sh("postfix stop\n");
    await until(() => !exists(`/proc/${pid}`), "Postfix to stop");
    this.#sink?.kill();
    await this.#sink?.status;
  }
}
