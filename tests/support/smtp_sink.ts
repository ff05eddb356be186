/**
 * Debian's smtp-sink (package postfix) as the mail server at the other end: a program that nobody here wrote, and
 * fast. It takes everything; what it took shows in its running counters.
 */

import { answers, exists } from "./postfix.ts";
import { until } from "./until.ts";

const PROGRAM = "/usr/sbin/smtp-sink";
const BACKLOG = "100";
const START_MS_MAX = 15_000;

export class SmtpSink {
  readonly port = 2525;
  /** Messages taken. */
  count = 0;
  #counted: Promise<void>;

  private constructor(readonly host: string, private readonly child: Deno.ChildProcess) {
    this.#counted = this.#read();
  }

  /** Resolves when it answers. */
  static async start(): Promise<SmtpSink> {
    const random = crypto.getRandomValues(new Uint8Array(2));
    const host = `127.${100 + random[0]! % 100}.${random[1]}.4`;
    // As root it insists on a user to become.
    const user = Deno.uid() === 0 ? ["-u", "nobody"] : [];
    const args = ["-c", "-h", "sink.example", ...user, `${host}:2525`, BACKLOG];
    const child = new Deno.Command(PROGRAM, { args, stdout: "piped", stderr: "null" }).spawn();
    const sink = new SmtpSink(host, child);
    try {
      await until(() => answers(`${host}:${sink.port}`), "smtp-sink to answer", START_MS_MAX);
    } catch (error) {
      await sink.stop();
      throw error;
    }
    return sink;
  }

  get pid(): number {
    return this.child.pid;
  }

  /** `sess=    3 quit=    2 mesg=    2` and a carriage return, again for each change. */
  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of this.child.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\r");
      rest = lines.pop()!;
      const last = lines.findLast((line) => line.includes("mesg="));
      if (last) this.count = Number(/mesg=\s*(\d+)/.exec(last)?.[1] ?? this.count);
    }
  }

  /** Resolves when so many mails were taken. */
  taken(count: number): Promise<void> {
    return until(() => this.count >= count, `${count} mails to reach smtp-sink`);
  }

  async stop(): Promise<void> {
    try {
      this.child.kill();
    } catch {
      // It ended by itself.
    }
    await this.child.status;
    await this.#counted;
  }
}

export async function hasSmtpSink(): Promise<boolean> {
  return exists(PROGRAM);
}
