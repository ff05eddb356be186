/**
 * `deno task load restore --gigabytes N [--dir D] [--cold]`: what a disaster costs in time. A store of N GB is filled,
 * backed up in full, grows by 1 %, is backed up once more, verified and deleted; then both backups are restored to an
 * empty directory, the daemon is started on it, and a receiver waits for the first webhook. What comes back is
 * compared with what went in, byte by byte. Everything is removed afterwards.
 *
 * The commands run in processes of their own, with V8 as in the executable; peak RSS is theirs. `--cold` drops the
 * system's cache before each step, which takes root: a new host has nothing in its cache.
 */

import { freeBytes } from "../../src/store/disk.ts";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { DaemonProcess } from "../support/daemon_process.ts";
import { until } from "../support/until.ts";
import { type Compared, compareMails, Filled, fillMails } from "./fill_mails.ts";
import { startLoadReceiver } from "./receiver.ts";

export interface RestoreOptions {
  gigabytes: number;
  /** Where the work is done; a folder in it is made and removed. The system's temporary folder when left out. */
  dir?: string | undefined;
  cold: boolean;
}

const GB = 2 ** 30;
const MB = 2 ** 20;
const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const FLAGS = ["--v8-flags=--max-semi-space-size=4"];
/** Store, backup and the copy of the database that a backup makes; later backup and restored store. */
const ROOM_TIMES = 3;
const MORE_PART = 0.01;
const LOOK_MS = 20;
const PATIENCE_MS = 600_000;

interface Step {
  name: string;
  seconds: number;
  bytes: number | null;
  rssPeakBytes: number | null;
  /** Shown behind it. */
  note?: string;
}

function peakRss(pid: number): number {
  try {
    return Number(/^VmHWM:\s*(\d+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;
  } catch {
    // It has ended.
    return 0;
  }
}

/** One command of the program, timed from outside; gives what it says. */
async function command(name: string, args: string[]): Promise<Step & { out: string }> {
  const began = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", ...FLAGS, MAIN, ...args],
    env: { MAIL_CONFIG: "/dev/null" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let rssPeakBytes = 0;
  const timer = setInterval(() => {
    rssPeakBytes = Math.max(rssPeakBytes, peakRss(child.pid));
  }, LOOK_MS);
  const { success, stdout, stderr } = await child.output();
  clearInterval(timer);
  const seconds = (performance.now() - began) / 1000;
  if (!success) throw new Error(`${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return { name, seconds, bytes: null, rssPeakBytes, out: new TextDecoder().decode(stdout).trim() };
}

function sizeOf(dir: string): number {
  let bytes = 0;
  for (const { name, isDirectory } of Deno.readDirSync(dir)) {
    bytes += isDirectory ? sizeOf(`${dir}/${name}`) : Deno.statSync(`${dir}/${name}`).size;
  }
  return bytes;
}

const shownSize = (bytes: number) =>
  bytes >= GB ? `${(bytes / GB).toFixed(2)} GB` : `${(bytes / MB).toFixed(bytes >= 10 * MB ? 0 : 1)} MB`;

function tableText(steps: readonly Step[]): string {
  const rows = steps.map(({ name, seconds, bytes, rssPeakBytes, note }) => [
    name,
    `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`,
    bytes === null ? "" : shownSize(bytes),
    rssPeakBytes === null ? "" : shownSize(rssPeakBytes),
    note ?? "",
  ]);
  const all = [["step", "time", "size", "peak RSS", ""], ...rows];
  const widths = all[0]!.map((_, i) => Math.max(...all.map((row) => row[i]!.length)));
  return all.map((row) => row.map((cell, i) => cell.padEnd(widths[i]!)).join("  ").trimEnd()).join("\n");
}

/** Page cache, entries and inodes: what a new host has none of. */
async function coolDown(cold: boolean): Promise<void> {
  if (!cold) return;
  const { success } = await new Deno.Command("sync").output();
  if (!success) throw new Error("Cannot sync");
  await Deno.writeTextFile("/proc/sys/vm/drop_caches", "3");
}

/** Filled, backed up, grown, backed up, verified; gives the last backup's path. */
async function beforeDisaster(dir: string, filled: Filled, options: RestoreOptions, steps: Step[]) {
  const dataDir = `${dir}/data`;
  const out = `${dir}/backups`;
  await Deno.mkdir(dataDir, { mode: 0o700 });
  const backup = async (name: string, ...flags: string[]): Promise<string> => {
    await coolDown(options.cold);
    const step = await command(name, ["backup", "create", "--data-dir", dataDir, "--dir", out, ...flags]);
    steps.push({ ...step, bytes: (await Deno.stat(step.out)).size });
    return step.out;
  };
  const fill = async (name: string, bytes: number) => {
    const began = performance.now();
    await fillMails(dataDir, filled, bytes);
    steps.push({
      name,
      seconds: (performance.now() - began) / 1000,
      bytes: sizeOf(dataDir),
      rssPeakBytes: null,
      note: `${filled.sums.size} mails, ${filled.inFiles} of them in files, ${filled.owed.size} owed`,
    });
  };
  await fill("fill", options.gigabytes * GB);
  await backup("backup, full");
  await fill("1 % more", filled.bytes * (1 + MORE_PART));
  const last = await backup("backup, incremental", "--incremental");
  await coolDown(options.cold);
  steps.push(await command("verify, both", ["backup", "verify", last]));
  return last;
}

interface Recovered {
  compared: Compared;
  /** From the beginning of the restore to the first webhook. */
  rtoSeconds: number;
  /** Owed, and not at the receiver. */
  undelivered: number;
}

async function afterDisaster(dir: string, last: string, filled: Filled, cold: boolean, steps: Step[]) {
  const { freemem } = await import("node:os");
  const receiver = await startLoadReceiver();
  const zone = await startZoneServer({ records: {} });
  const host = `${dir}/host`;
  await Deno.mkdir(host);
  await coolDown(cold);
  const began = performance.now();
  const since = (ms: number) => (performance.now() - ms) / 1000;
  let daemon: DaemonProcess | null = null;
  try {
    const restored = await command("restore, both", ["restore", last, "--data-dir", `${host}/data`]);
    steps.push({
      ...restored,
      bytes: sizeOf(`${host}/data`),
      note: `${shownSize(freemem())} of memory free`,
    });
    const startedAt = performance.now();
    const values = {
      dns_servers: [zone.address],
      webhook_url: `http://127.0.0.1:${receiver.port}/hook`,
      disk_reserve: 0,
    };
    daemon = await DaemonProcess.start(host, values, { keepLines: false, flags: FLAGS });
    const url = `http://127.0.0.1:${daemon.apiPort}/health/ready`;
    await until(async () => {
      const response = await fetch(url);
      await response.body?.cancel();
      return response.status === 200;
    }, "readiness");
    steps.push({ name: "start to ready", seconds: since(startedAt), bytes: null, rssPeakBytes: null });
    await until(() => receiver.received.size > 0, "the first webhook");
    const firstAt = Math.min(...receiver.received.values());
    const rtoSeconds = (firstAt - began) / 1000;
    steps.push({
      name: "start to first webhook",
      seconds: (firstAt - startedAt) / 1000,
      bytes: null,
      rssPeakBytes: null,
    });
    const missing = () => [...filled.owed].filter((id) => !receiver.received.has(id)).length;
    await until(() => receiver.received.size >= filled.owed.size && missing() === 0, "the rest", PATIENCE_MS)
      .catch(() => {
        // The verdict below says how many.
      });
    steps.push({
      name: "start to all owed delivered",
      seconds: since(startedAt),
      bytes: null,
      rssPeakBytes: daemon.peakRssBytes(),
      note: `${receiver.received.size} webhooks; RSS is the daemon's`,
    });
    const undelivered = missing();
    const comparedAt = performance.now();
    const compared = await compareMails(`${host}/data`, filled);
    steps.push({ name: "compare every mail", seconds: since(comparedAt), bytes: null, rssPeakBytes: null });
    return { compared, rtoSeconds, undelivered };
  } finally {
    await daemon?.stop();
    await receiver.close();
    await zone.close();
  }
}

function verdict({ compared, undelivered, rtoSeconds }: Recovered, filled: Filled): boolean {
  const { messages, lost, strange, integrity } = compared;
  const checks: [string, boolean][] = [
    [`${messages} of ${filled.sums.size} mails are back`, messages === filled.sums.size && strange === 0],
    [`${lost} lost or with other bytes`, lost === 0],
    [`${undelivered} of ${filled.owed.size} owed webhooks not delivered`, undelivered === 0],
    [`integrity of the database: ${integrity}`, integrity === "ok"],
  ];
  console.log(`\nrestore to first webhook (RTO): ${rtoSeconds.toFixed(1)} s`);
  for (const [text, isKept] of checks) console.log(`${isKept ? "ok    " : "MISSED"} ${text}`);
  return checks.every(([, isKept]) => isKept);
}

/** Resolves with whether nothing was lost. */
export async function restoreLoad(options: RestoreOptions): Promise<boolean> {
  const parent = options.dir ?? Deno.env.get("TMPDIR") ?? "/tmp";
  const [free, need] = [await freeBytes(parent), options.gigabytes * GB * ROOM_TIMES + GB];
  console.log(
    `${parent}: ${shownSize(free)} free, ${shownSize(need)} needed, page cache ${
      options.cold ? "dropped before each step" : "warm"
    }`,
  );
  if (free < need) {
    console.error(
      `Cannot measure ${options.gigabytes} GB in ${parent}: there is no room; --dir names another place`,
    );
    return false;
  }
  const dir = await Deno.makeTempDir({ dir: parent, prefix: "gomail-restore-" });
  const steps: Step[] = [];
  try {
    const filled = new Filled();
    const last = await beforeDisaster(dir, filled, options, steps);
    await Deno.remove(`${dir}/data`, { recursive: true });
    const recovered = await afterDisaster(dir, last, filled, options.cold, steps);
    console.log(tableText(steps));
    return verdict(recovered, filled);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
