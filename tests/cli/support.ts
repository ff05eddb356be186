/** Runs the command line in this process, with everything it prints caught, and plays the daemon's part. */

import { main } from "../../src/cli/mod.ts";
import { type CliIo, systemIo } from "../../src/cli/io.ts";
import { withTempDir } from "../support/test.ts";

export interface Ran {
  code: number;
  out: string;
  err: string;
  bytes: Uint8Array;
}

export interface RunOptions {
  env?: Record<string, string>;
  /** Replaces parts of the io. */
  io?: Partial<CliIo>;
}

/** `gomail <args>` without the host's environment; words are split at spaces. */
export async function gomail(args: string | readonly string[], options: RunOptions = {}): Promise<Ran> {
  const env = options.env ?? {};
  const ran: Ran = { code: 0, out: "", err: "", bytes: new Uint8Array() };
  const io: CliIo = {
    ...systemIo(),
    out: (text) => void (ran.out += text),
    err: (text) => void (ran.err += text),
    outBytes: async (bytes) => {
      ran.bytes = new Uint8Array([...ran.bytes, ...bytes]);
    },
    env: { get: (name) => env[name], names: () => Object.keys(env) },
    // As a host that has the package.
    hasSystemd: () => true,
    // Whoever runs the tests may sit at one.
    outIsTerminal: () => false,
    errIsTerminal: () => false,
    now: () => Date.UTC(2026, 0, 1),
    ...options.io,
  };
  ran.code = await main(typeof args === "string" ? args.split(" ").filter(Boolean) : args, io);
  return ran;
}

export interface Asked {
  method: string;
  /** Path and query. */
  path: string;
  body: unknown;
}

export interface FakeDaemon {
  socket: string;
  asked: Asked[];
  /** gomail with this daemon's control socket. */
  run(args: string | readonly string[]): Promise<Ran>;
}

/** A control socket that gives `answer` to everything, for as long as `use` runs. */
export async function withDaemon(
  answer: (request: Asked) => Response | Promise<Response>,
  use: (daemon: FakeDaemon) => Promise<void>,
): Promise<void> {
  await withTempDir(async (dir) => {
    const socket = `${dir}/control.sock`;
    const asked: Asked[] = [];
    const server = Deno.serve({ path: socket, onListen() {} }, async (request) => {
      const url = new URL(request.url);
      const text = await request.text();
      const ask = {
        method: request.method,
        path: request.url.slice(request.url.indexOf(url.pathname, 8)),
        body: text === "" ? undefined : JSON.parse(text),
      };
      asked.push(ask);
      return await answer(ask);
    });
    try {
      const env = { MAIL_CONTROL_SOCKET: socket, MAIL_CONFIG: "/dev/null" };
      await use({ socket, asked, run: (args) => gomail(args, { env }) });
    } finally {
      await server.shutdown();
    }
  });
}
