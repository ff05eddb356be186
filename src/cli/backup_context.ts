/** What the backup commands share: where the store is, what to open a backup with, progress, and how refusals are told. */

import { load } from "../config/load.ts";
import { configOf } from "../config/schema.ts";
import { fileProblem, OWN_PLACES, plainMessage } from "../base/places.ts";
import { BackupError, type OpenWith } from "../store/backup/mod.ts";
import { StoreError } from "../base/errors.ts";
import { BACKUP_DIR } from "./backup_flags.ts";
import { CommandError, type Invocation, UsageError, valueOf } from "./command.ts";
import { loadInput } from "./context.ts";
import type { CliIo } from "./io.ts";

const KEY_FILE_BYTES_MAX = 65_536;

/** A small text file that a flag names. */
function readText({ io, flags }: Invocation, flag: string): string | undefined {
  const path = valueOf(flags, flag);
  if (path === undefined) return undefined;
  try {
    const bytes = io.readFile(path, KEY_FILE_BYTES_MAX);
    if (bytes.length <= KEY_FILE_BYTES_MAX) return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) throw new CommandError(`Cannot use --${flag} ${path}: it is not text`);
    throw new CommandError(`Cannot use --${flag} ${path}: ${fileProblem(path, error).reason}`);
  }
  throw new CommandError(`Cannot use --${flag} ${path}: it is too large`);
}

export function passphraseOf(invocation: Invocation): string | undefined {
  const text = readText(invocation, "passphrase-file")?.replace(/\r?\n$/, "");
  if (text === "" || text?.includes("\n")) {
    throw new CommandError("Cannot use the --passphrase-file: one line with the passphrase is needed");
  }
  return text;
}

export function openWithOf(invocation: Invocation): OpenWith {
  const lines = readText(invocation, "identity")?.split(/\r?\n/) ?? [];
  const identities = lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"));
  return { identities, passphrase: passphraseOf(invocation) };
}

/** The data directory that this invocation means, as for any command a config with a mistake elsewhere is no reason to fail. */
export function storeOf(invocation: Invocation): { dataDir: string; diskReserve: number } {
  const result = load(loadInput(invocation));
  const config = result.ok ? result.config : { ...configOf(), ...result.partial };
  const named = invocation.flags.has("config") || Boolean(invocation.io.env.get("MAIL_CONFIG"));
  const [problem] = result.ok ? [] : result.problems;
  if (named && result.file === null && problem) {
    throw new CommandError(`Cannot use ${problem.path}: it ${problem.problem}`);
  }
  return { dataDir: config.data_dir, diskReserve: config.disk_reserve };
}

const PROGRESS_EVERY_MS = 200;

/** One line that is written over, where somebody watches. */
export function progressOn(io: CliIo): { show(text: string): void; end(): void } {
  if (!io.errIsTerminal()) return { show: () => {}, end: () => {} };
  let lastAt = 0;
  let shown = false;
  return {
    show(text) {
      if (io.now() - lastAt < PROGRESS_EVERY_MS) return;
      lastAt = io.now();
      shown = true;
      io.err(`\r\u001b[K${text}`);
    },
    end() {
      if (shown) io.err("\r\u001b[K");
    },
  };
}

/** For a path that the executable may not touch; what the shell has opened it may read and write all the same. */
const INSIDE =
  `use ${OWN_PLACES[0]} for a store, ${BACKUP_DIR} for backups, or a path below the working directory; ` +
  "or let the shell open it: `-` and > or <";

/** Runs `work`; what it refuses becomes the command's one line. */
export async function told<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UsageError || error instanceof CommandError) throw error;
    if (error instanceof BackupError || error instanceof StoreError) throw new CommandError(error.message);
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new CommandError(
        `Cannot do it as this user: ${plainMessage(error)}; run it as the daemon's user, ` +
          "on a Debian host by `sudo -u gomail gomail ...`",
      );
    }
    if (error instanceof Error && ("code" in error || error instanceof Deno.errors.NotCapable)) {
      throw new CommandError(`Cannot do it: ${plainMessage(error, INSIDE)}`);
    }
    throw error;
  }
}

/** 1.5 GB, 20 MB, 3 KB. */
export function sizeText(bytes: number): string {
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 10 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}
