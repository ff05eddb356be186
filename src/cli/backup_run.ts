/**
 * What `backup create|verify|list` do: work on files, with the daemon running or stopped and without asking it. The name of
 * what was made is alone on stdout, so that a script can take it as it is; everything else goes to stderr.
 */

import { join, resolve } from "node:path";
import { VERSION } from "../base/version.ts";
import { printable } from "../base/printable.ts";
import {
  BackupError,
  type Candidate,
  checkBeside,
  createBackup,
  type Created,
  expendableIn,
  type Keep,
  leaveNote,
  listBackups,
  type Listed,
  NOWHERE,
  type Output,
  parseDays,
  parseKeep,
  proveBackup,
  readBackup,
  removeBackups,
  sealer,
  storeIdOf,
} from "../store/backup/mod.ts";
import { BACKUP_DIR } from "./backup_flags.ts";
import { openWithOf, passphraseOf, progressOn, sizeText, storeOf, told } from "./backup_context.ts";
import { configEntries } from "./backup_config.ts";
import { CommandError, EXIT, type Invocation, isOn, UsageError, valueOf } from "./command.ts";
import { json, table } from "./format.ts";
import { contentText } from "./restore_run.ts";

function outputOf({ io, flags }: Invocation): Output {
  const file = valueOf(flags, "output");
  const dir = valueOf(flags, "dir");
  if (file !== undefined && dir !== undefined) throw new UsageError("--output and --dir exclude each other");
  if (file === "-") {
    // Not what a person wants to see; and a terminal between (kubectl exec -t) would turn LF into CRLF.
    if (io.outIsTerminal()) {
      throw new UsageError("--output - is not for a terminal: send it elsewhere, as in > gomail.tar");
    }
    return { kind: "stream", write: io.outBytes };
  }
  return file === undefined
    ? { kind: "folder", dir: resolve(dir ?? BACKUP_DIR) }
    : { kind: "file", path: resolve(file) };
}

function report(invocation: Invocation, { summary, path, bytes, problem }: Created): void {
  const { io, flags } = invocation;
  const { id, kind, created_at, messages, missing_blobs } = summary;
  if (missing_blobs.length > 0) {
    io.err(
      `gomail: ${missing_blobs.length} bodies that rows name are missing in the store, or cut off: ${
        missing_blobs[0]
      }\n`,
    );
  }
  if (path === null) return io.err(`${kind} backup, ${contentText(summary)}, ${sizeText(bytes)}\n`);
  if (isOn(flags, "json")) {
    return io.out(
      json({
        id,
        kind,
        path,
        bytes,
        created_at,
        messages,
        last_message: summary.last_message,
        missing_blobs,
        problem,
      }),
    );
  }
  io.out(`${path}\n`);
  io.err(`${kind} backup, ${contentText(summary)}, ${sizeText(bytes)}\n`);
}

interface Retention {
  dir: string;
  keep: Keep;
}

/** What retention is asked to do, or null. */
function keepOf({ flags }: Invocation, output: Output): Retention | null {
  const text = valueOf(flags, "keep");
  if (text === undefined) {
    if (isOn(flags, "dry-run")) {
      throw new UsageError("--dry-run belongs to --keep: it says what would be removed");
    }
    return null;
  }
  const keep = parseKeep(text);
  if (keep === null) {
    throw new UsageError("--keep is a list such as 7d,4w,6m: days, weeks and months to keep");
  }
  if (output.kind !== "folder") throw new UsageError("--keep is about a folder, and goes with --dir");
  return { dir: output.dir, keep };
}

/** After how many dates an increment shall be a full backup. */
function fullEveryOf({ flags }: Invocation): number | undefined {
  const text = valueOf(flags, "full-every");
  if (text === undefined) return undefined;
  const days = parseDays(text);
  if (days === null) throw new UsageError("--full-every is a number of days or weeks, such as 7d or 2w");
  if (!isOn(flags, "incremental")) throw new UsageError("--full-every belongs to --incremental");
  return days;
}

/**
 * Read back, with all that it stands on. It stays, whatever is wrong with it: it may be all that somebody can use.
 */
async function prove({ io }: Invocation, dir: string, id: string, passphrase?: string): Promise<void> {
  const progress = progressOn(io);
  let read = 0;
  try {
    const show = (bytes: number) => progress.show(`verifying, ${sizeText(read += bytes)}`);
    await proveBackup(dir, id, { passphrase, progress: show });
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    throw new CommandError(
      `Cannot rely on the new backup, and nothing was removed: ${error.message}; make a full one, without --incremental`,
    );
  } finally {
    progress.end();
  }
}

/** Only after a new backup, `madeId`, is in its place and has been proved; without one it says what would go. */
async function retain(
  { io }: Invocation,
  { dir, keep, dataDir }: Retention & { dataDir: string },
  madeId?: string,
): Promise<Candidate[]> {
  const files = await expendableIn(dir, { keep, store: await storeIdOf(dataDir), madeId });
  const isDry = madeId === undefined;
  if (!isDry) await removeBackups(dir, files);
  for (const { file, bytes } of files) {
    io.err(`${isDry ? "would remove" : "removed"} ${printable(file)}, ${sizeText(bytes)}\n`);
  }
  return files;
}

/** `--keep SPEC --dry-run`: no backup, and nothing is removed. */
async function tryRetention(invocation: Invocation, retention: Retention): Promise<number> {
  const { dataDir } = storeOf(invocation);
  const files = await told(() => retain(invocation, { ...retention, dataDir }));
  if (isOn(invocation.flags, "json")) {
    invocation.io.out(json({ would_remove: files.map(({ file }) => file) }));
  } else if (files.length === 0) invocation.io.err("nothing would be removed\n");
  return EXIT.ok;
}

export async function runCreate(invocation: Invocation): Promise<number> {
  const { io, flags } = invocation;
  const output = outputOf(invocation);
  const retention = keepOf(invocation, output);
  if (retention !== null && isOn(flags, "dry-run")) return await tryRetention(invocation, retention);
  const incremental = isOn(flags, "incremental");
  const fullEveryDays = fullEveryOf(invocation);
  if (output.kind === "stream" && incremental) {
    throw new UsageError("--incremental needs a folder: what it leaves out has to lie beside it");
  }
  if (output.kind === "stream" && isOn(flags, "json")) {
    throw new UsageError("--json and --output - exclude each other");
  }
  const recipients = flags.get("recipient") ?? [];
  const passphrase = passphraseOf(invocation);
  if (recipients.length > 0 && passphrase !== undefined) {
    throw new UsageError("--recipient and --passphrase-file exclude each other");
  }
  const { dataDir, diskReserve } = storeOf(invocation);
  const progress = progressOn(io);
  const created = await told(async () => {
    const { entries, warnings } = configEntries(invocation);
    for (const warning of warnings) io.err(`gomail: ${printable(warning)}\n`);
    try {
      return await createBackup({
        dataDir,
        output,
        incremental,
        fullEveryDays,
        seal: sealer({ recipients, passphrase }),
        config: entries,
        diskReserve,
        gomailVersion: VERSION,
        now: io.now(),
        progress: (what, part) => progress.show(`${what} ${Math.floor(part * 100)} %`),
      });
    } finally {
      progress.end();
    }
  });
  report(invocation, created);
  if (created.problem !== null) {
    throw new CommandError(
      `The backup is made, but a restore would refuse it: ${created.problem}; nothing older was removed. ` +
        "disaster-recovery.md says what to do",
    );
  }
  await told(async () => {
    const { id } = created.summary;
    // Each time and not only before something goes: an increment on a base that the disk has spoilt is no backup.
    if (retention !== null) await prove(invocation, retention.dir, id, passphrase);
    await leaveNote(dataDir, created);
    if (retention !== null) await retain(invocation, { ...retention, dataDir }, id);
  });
  return EXIT.ok;
}

export async function runVerify(invocation: Invocation): Promise<number> {
  const { io, args, flags } = invocation;
  const openWith = openWithOf(invocation);
  const progress = progressOn(io);
  let read = 0;
  const path = args[0] === "-" ? null : resolve(args[0]!);
  const { summary } = await told(async () => {
    try {
      const manifest = await readBackup({
        source: path === null ? { kind: "stream", stream: io.inputStream() } : { kind: "file", path },
        openWith,
        sink: NOWHERE,
        progress: (bytes) => progress.show(`verifying, ${sizeText(read += bytes)}`),
      });
      if (path !== null) await checkBeside(path, manifest);
      return manifest;
    } finally {
      progress.end();
    }
  });
  if (isOn(flags, "json")) io.out(json({ sound: true, ...summary }));
  else io.out(`sound: ${summary.kind} backup of ${summary.created_at}, ${contentText(summary)}\n`);
  return EXIT.ok;
}

/** What kind it is, and what it is good for. */
function kindText({ summary, lacks }: Listed): string {
  if (summary === null) return "unknown: its manifest is missing or damaged";
  return lacks.length === 0 ? summary.kind : `${summary.kind}, useless: ${lacks[0]} is missing`;
}

export async function runList({ io, flags }: Invocation): Promise<number> {
  const dir = resolve(valueOf(flags, "dir") ?? BACKUP_DIR);
  const found = await told(() => listBackups(dir));
  if (isOn(flags, "json")) {
    io.out(json({ items: found.map((item) => ({ ...item, path: join(dir, item.file) })) }));
    return EXIT.ok;
  }
  if (found.length === 0) {
    io.err(`no backups in ${printable(dir)}\n`);
    return EXIT.ok;
  }
  const rows = found.map((item) => {
    const { file, bytes, encrypted, summary } = item;
    return [
      summary?.created_at ?? "-",
      kindText(item),
      sizeText(bytes),
      encrypted ? "yes" : "no",
      summary === null ? "-" : String(summary.messages),
      summary?.last_message?.received_at ?? "-",
      file,
    ];
  });
  io.out(table([["CREATED", "KIND", "SIZE", "ENCRYPTED", "MESSAGES", "LAST MESSAGE", "FILE"], ...rows]));
  return EXIT.ok;
}
