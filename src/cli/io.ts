/**
 * What a command may touch of the world outside: streams, environment, files, the clock. An argument
 * everywhere, so that tests drive `main()` itself and see what a person would see.
 */

import { hasSystemd } from "../base/systemd.ts";
import type { Environment } from "../config/layers.ts";

export interface CliIo {
  out(text: string): void;
  err(text: string): void;
  /** Exact bytes to stdout; resolves when they are taken. */
  outBytes(bytes: Uint8Array): Promise<void>;
  env: Environment;
  /** Reads at most one byte more than `bytesMax`, from pipes as well; `-` is standard input. */
  readFile(path: string, bytesMax: number): Uint8Array;
  /** Standard input to its end, at most one byte more than `bytesMax`; null where a person sits at it. */
  readInput(bytesMax: number): Promise<Uint8Array | null>;
  /** Standard input as it comes, to be read once. */
  inputStream(): ReadableStream<Uint8Array>;
  /** A new file; one that is there is only replaced when it may be, else Deno.errors.AlreadyExists. */
  writeFile(path: string, text: string, mayReplace: boolean): void;
  /** What is printed goes to a person and not into a pipe or a file. */
  outIsTerminal(): boolean;
  /** The same of errors and progress. */
  errIsTerminal(): boolean;
  /** systemd manages this host; it is no container. */
  hasSystemd(): boolean;
  /** Permission bits, or null where they can't be told. */
  fileMode(path: string): number | null;
  now(): number;
}

/** A write may take part of the bytes, into a pipe above all. */
function writeAll(stream: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
}

const READ_CHUNK_BYTES = 65_536;

/** Never by size: a pipe has none, and a file may grow while it is read. */
function readStream(stream: { readSync(into: Uint8Array): number | null }, bytesMax: number): Uint8Array {
  const chunks: Uint8Array[] = [];
  let total = 0;
  while (total <= bytesMax) {
    const chunk = new Uint8Array(Math.min(READ_CHUNK_BYTES, bytesMax + 1 - total));
    const count = stream.readSync(chunk);
    if (count === null || count === 0) break;
    chunks.push(chunk.subarray(0, count));
    total += count;
  }
  const whole = new Uint8Array(total);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** `-` is standard input, which comes once: a reload finds what was read at the start. */
function fileReader(): CliIo["readFile"] {
  let input: Uint8Array | null = null;
  return (path, bytesMax) => {
    if (path === "-") return input ??= readStream(Deno.stdin, bytesMax);
    const file = Deno.openSync(path, { read: true });
    try {
      return readStream(file, bytesMax);
    } finally {
      file.close();
    }
  };
}

/** By its descriptor: reading it as a file would need a permission. */
async function readInput(bytesMax: number): Promise<Uint8Array | null> {
  if (Deno.stdin.isTerminal()) return null;
  const whole = new Uint8Array(bytesMax + 1);
  let total = 0;
  while (total < whole.length) {
    const count = await Deno.stdin.read(whole.subarray(total));
    if (count === null) break;
    total += count;
  }
  return whole.slice(0, total);
}

function fileMode(path: string): number | null {
  try {
    return Deno.statSync(path).mode;
  } catch {
    // Gone, or in a directory we may not enter: whoever reads the file will say so.
    return null;
  }
}

/** Without full permission the environment can't be listed, only asked. */
function environmentNames(): string[] {
  try {
    return Object.keys(Deno.env.toObject());
  } catch {
    // Then misspelled variables go unnoticed, which is what the permission asks for.
    return [];
  }
}

function environmentGet(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch {
    // A variable outside the permission is a variable that is not set.
    return undefined;
  }
}

/** The real world. */
export function systemIo(): CliIo {
  return {
    out: (text) => writeAll(Deno.stdout, new TextEncoder().encode(text)),
    err: (text) => writeAll(Deno.stderr, new TextEncoder().encode(text)),
    outBytes: async (bytes) => {
      for (let at = 0; at < bytes.length;) at += await Deno.stdout.write(bytes.subarray(at));
    },
    env: { get: environmentGet, names: environmentNames },
    readFile: fileReader(),
    readInput,
    inputStream: () => Deno.stdin.readable,
    writeFile: (path, text, mayReplace) => Deno.writeTextFileSync(path, text, { createNew: !mayReplace }),
    outIsTerminal: () => Deno.stdout.isTerminal(),
    errIsTerminal: () => Deno.stderr.isTerminal(),
    hasSystemd: () => hasSystemd(),
    fileMode,
    now: Date.now,
  };
}
