/** What `restore` does: a backup back into an empty data directory, or the proof that it could be. Says what is not in it. */

import { dirname, resolve } from "node:path";
import { OWN_PLACES } from "../base/places.ts";
import {
  type Manifest,
  restoreBackup,
  type Restored,
  RESTORED_CONFIG,
  type Source,
  type Summary,
  tryRestore,
} from "../store/backup/mod.ts";
import { openWithOf, progressOn, sizeText, storeOf, told } from "./backup_context.ts";
import { CommandError, EXIT, type Invocation, isOn } from "./command.ts";
import { json } from "./format.ts";

/** What a backup holds, in a few words. */
export function contentText({ messages, last_message }: Summary): string {
  return last_message === null
    ? "no messages"
    : `${messages} ${
      messages === 1 ? "message" : "messages"
    }, the last ${last_message.id} of ${last_message.received_at}`;
}

/** What whoever restores should know before the daemon starts. */
function aftermath({ created_at, last_message, jobs_owed, missing_blobs }: Summary): string {
  const lines = [
    last_message === null
      ? `What was accepted after ${created_at} is not in it.`
      : `Not in it: whatever was acknowledged after ${last_message.received_at} (message ${last_message.id}).`,
  ];
  if (jobs_owed > 0) {
    const [what, ids] = jobs_owed === 1 ? ["delivery", "id"] : ["deliveries", "ids"];
    lines.push(`${jobs_owed} ${what} owed at that time will be made, perhaps again, under the same ${ids}.`);
  }
  lines.push("Readers of /v1/events go on from the cursors that they have.");
  if (missing_blobs.length > 0) {
    lines.push(`${missing_blobs.length} bodies were missing in the store already.`);
  }
  return lines.map((line) => `${line}\n`).join("");
}

const quoted = (path: string) => /^[\w./+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;

/** Whose it is now: a daemon of another user can't open it. */
function ownerText(dataDir: string, { heir }: Restored): string {
  if (heir === null) return "";
  const { uid, gid, like } = heir;
  if (like !== null) return `It belongs to user ${uid} and group ${gid}, as ${like} does.\n`;
  return uid === 0
    ? `It belongs to root. For a daemon of another user: chown -R USER: ${quoted(dataDir)}\n`
    : `It belongs to user ${uid} and group ${gid}, who restored it.\n`;
}

/** Throws when it has still to be given to whoever shall open it. */
function checkGiven(dataDir: string, { heir, isUngiven }: Restored): void {
  if (!isUngiven || heir === null) return;
  const { uid, gid, like } = heir;
  throw new CommandError(
    `Cannot give ${dataDir} to user ${uid} and group ${gid}, whose ${like} is: this user may not; ` +
      `it is whole, and needs, as root: chown -R ${uid}:${gid} ${quoted(dataDir)}`,
  );
}

export async function runRestore(invocation: Invocation): Promise<number> {
  const { io, args, flags } = invocation;
  const openWith = openWithOf(invocation);
  const verifyOnly = isOn(flags, "verify-only");
  const dataDir = resolve(storeOf(invocation).dataDir);
  const path = args[0] === "-" ? null : resolve(args[0]!);
  const source: Source = path === null
    ? { kind: "stream", stream: io.inputStream() }
    : { kind: "file", path };
  const progress = progressOn(io);
  let read = 0;
  const options = {
    source,
    openWith,
    progress: (bytes: number) => progress.show(`reading, ${sizeText(read += bytes)}`),
  };
  const [{ summary, files }, restored] = await told(async (): Promise<[Manifest, Restored | null]> => {
    try {
      if (verifyOnly) {
        const workIn = path === null ? io.env.get("TMPDIR") || "/tmp" : dirname(path);
        return [await tryRestore(workIn, options), null];
      }
      const done = await restoreBackup(dataDir, { ...options, now: io.now(), places: OWN_PLACES });
      return [done, done];
    } finally {
      progress.end();
    }
  });
  if (isOn(flags, "json")) {
    const owner = restored?.heir ? { uid: restored.heir.uid, gid: restored.heir.gid } : null;
    io.out(json({ restored: restored && dataDir, owner, ...summary }));
  } else {
    const what = `backup of ${summary.created_at}, ${contentText(summary)}`;
    io.out(restored ? `restored to ${dataDir}: ${what}\n` : `can be restored: ${what}\n`);
    io.out(aftermath(summary));
    if (restored && !restored.isUngiven) io.out(ownerText(dataDir, restored));
    if (restored && files.some(({ name }) => name.startsWith("config/"))) {
      io.out(`Its config is in ${dataDir}/${RESTORED_CONFIG}, for you to compare and put in its place.\n`);
    }
  }
  if (restored) checkGiven(dataDir, restored);
  return EXIT.ok;
}
