/**
 * What a command is to the front desk: the table of these is the only source for parsing, help and
 * suggestions.
 */

import type { CliIo } from "./io.ts";

export interface Flag {
  /** In kebab-case, without the dashes. A name means the same kind in every command. */
  name: string;
  /** "switch" is on or off, "value" takes one, "list" may be given several times. */
  kind: "switch" | "value" | "list";
  /** What the value is, for help: `ID`, `N`. */
  placeholder?: string;
  /** What the value may be, where that is a fixed set: for completion. */
  words?: readonly string[];
  summary: string;
}

/** The flags given, by name; switches are "true" or "false". */
export type GivenFlags = ReadonlyMap<string, readonly string[]>;

export interface Invocation {
  io: CliIo;
  flags: GivenFlags;
  /** What follows the command's name. */
  args: readonly string[];
}

export interface Command {
  /** One or two words. */
  name: string;
  summary: string;
  /** What follows the name: `ID`, `[ID...]`. */
  usage: string;
  flags: readonly Flag[];
  /** Every config key is a flag of this command as well. */
  takesConfig?: boolean;
  /** How many arguments may follow; none by default. */
  args?: { min: number; max: number };
  /** What they may be, where that is a fixed set: for completion. */
  argWords?: readonly string[];
  examples: readonly string[];
  /** Returns the exit code: 0 done, 1 failed, 2 wrongly used. */
  run(invocation: Invocation): Promise<number>;
}

/** Wrongly used: one line that says what to do, exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Could not be done: one line that says why, exit code 1. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

/** The daemon was not asked, for a reason on this side: nothing is known of it by that. */
export class UnaskedError extends CommandError {}

export const EXIT = { ok: 0, failed: 1, usage: 2 } as const;

/** Of a list an argument may at most have so many. */
export const ARGS_MAX = 10_000;

export function isOn(flags: GivenFlags, name: string): boolean {
  return flags.get(name)?.at(-1) === "true";
}

export function valueOf(flags: GivenFlags, name: string): string | undefined {
  return flags.get(name)?.at(-1);
}

/** A whole number of at least one from a flag. */
export function numberOf(flags: GivenFlags, name: string): number | undefined {
  const text = valueOf(flags, name);
  if (text === undefined) return undefined;
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new UsageError(`--${name} must be a whole number of at least 1`);
  return Number(text);
}
