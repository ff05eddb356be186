/** What `restore` does: a backup back into an empty data directory, or the proof that it could be. Says what is not in it. */

import { dirname, resolve } from "node:path";
import {
  restoreBackup,
  RESTORED_CONFIG,
  type Source,
  type Summary,
  tryRestore,
} from "../store/backup/mod.ts";
import { openWithOf, progressOn, sizeText, storeOf, told } from "./backup_context.ts";
import { EXIT, type Invocation, isOn } from "./command.ts";
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
  const manifest = await told(async () => {
    try {
      if (!verifyOnly) return await restoreBackup(dataDir, { ...options, now: io.now() });
      return await tryRestore(path === null ? io.env.get("TMPDIR") || "/tmp" : dirname(path), options);
    } finally {
      progress.end();
    }
  });
  const { summary, files } = manifest;
  if (isOn(flags, "json")) {
    io.out(json({ restored: verifyOnly ? null : dataDir, ...summary }));
    return EXIT.ok;
  }
  const what = `backup of ${summary.created_at}, ${contentText(summary)}`;
  io.out(verifyOnly ? `can be restored: ${what}\n` : `restored to ${dataDir}: ${what}\n`);
  io.out(aftermath(summary));
  if (!verifyOnly && files.some(({ name }) => name.startsWith("config/"))) {
    io.out(`Its config is in ${dataDir}/${RESTORED_CONFIG}, for you to compare and put in its place.\n`);
  }
  return EXIT.ok;
}
