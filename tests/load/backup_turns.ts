/**
 * What the daemon feels of a backup: mails from one connection at a steady pace, the time from the final dot to the
 * 250, with and without a full backup of its store running, in turns; and what full and incremental backups of that
 * store take.
 *
 * deno run -A tests/load/backup_turns.ts DIR [--turns N]    DIR/data is a store, as fill_store.ts makes it
 */

import { DaemonProcess } from "../support/daemon_process.ts";
import { LoadConnection } from "./smtp_load.ts";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { makeMails } from "./mails.ts";

const [dir, , turnsText = "3"] = Deno.args;
if (dir === undefined) throw new Error("a folder is needed");
const main = new URL("../../main.ts", import.meta.url).pathname;
/** Between two mails. */
const PAUSE_MS = 10;
const QUIET_MS = 10_000;

async function backup(...flags: string[]): Promise<{ seconds: number; bytes: number }> {
  const began = performance.now();
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      main,
      "backup",
      "create",
      "--data-dir",
      `${dir}/data`,
      "--dir",
      `${dir}/out`,
      ...flags,
    ],
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  const path = new TextDecoder().decode(stdout).trim();
  return { seconds: (performance.now() - began) / 1000, bytes: Deno.statSync(path).size };
}

async function latencies(until: () => boolean, connection: LoadConnection): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; !until(); i++) {
    const { code, answerMs, text } = await connection.send(mails[i % mails.length]!, "bob@example.com");
    if (code !== 250) throw new Error(text);
    found.push(answerMs);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  return found.sort((a, b) => a - b);
}

const shown = (sorted: number[]) => {
  const at = (p: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))]!.toFixed(1);
  return `${sorted.length} mails, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${sorted.at(-1)!.toFixed(1)} ms`;
};

const { mails, zone: records } = await makeMails(100, 10, 4096);
const zone = await startZoneServer({ records });
const daemon = await DaemonProcess.start(dir, {
  webhook_url: "http://127.0.0.1:9/",
  disk_reserve: 0,
  dns_servers: [zone.address],
}, { keepLines: false });
const connection = await LoadConnection.open(daemon.smtpPort);
try {
  for (let turn = 0; turn < Number(turnsText); turn++) {
    const end = performance.now() + QUIET_MS;
    console.log("quiet       ", shown(await latencies(() => performance.now() > end, connection)));
    for (const flags of [[], ["--incremental"]]) {
      let isDone = false;
      const made = backup(...flags).finally(() => isDone = true);
      const felt = await latencies(() => isDone, connection);
      const { seconds, bytes } = await made;
      console.log(
        (flags[0] ?? "full").padEnd(12),
        shown(felt),
        `; ${seconds.toFixed(1)} s, ${(bytes / 2 ** 20).toFixed(1)} MiB`,
      );
    }
  }
} finally {
  await connection.close();
  await daemon.kill();
  await zone.close();
}
