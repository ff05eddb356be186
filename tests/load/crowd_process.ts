/** Starts the crowd (crowd.ts) as a process, hears its reports, and ends it. */

import type { CrowdPlan, CrowdReport } from "./crowd.ts";

export class Crowd {
  last!: CrowdReport;
  #child: Deno.ChildProcess;
  #lines: ReadableStreamDefaultReader<string>;
  #reading: Promise<void> = Promise.resolve();

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Resolves when all its idle connections are open and it has begun to hammer. */
  static async start(plan: CrowdPlan): Promise<Crowd> {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", new URL("crowd.ts", import.meta.url).pathname, JSON.stringify(plan)],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const crowd = new Crowd(child);
    await crowd.#read();
    crowd.#reading = (async () => {
      while (await crowd.#read());
    })();
    return crowd;
  }

  get pid(): number {
    return this.#child.pid;
  }

  async end(): Promise<CrowdReport> {
    await this.#child.stdin.close();
    await this.#reading;
    await this.#child.status;
    return this.last;
  }

  async #read(): Promise<boolean> {
    const { value, done } = await this.#lines.read();
    const line = (value ?? "").trim().split("\n").pop()!;
    if (line !== "") this.last = JSON.parse(line);
    return !done;
  }
}
