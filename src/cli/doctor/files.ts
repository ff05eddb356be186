/**
 * Who may read our secrets and use our sockets: the data directory and what is secret in it, the keys that the
 * config names, the control socket, whose mode is the access check of the whole API. The modes of the config, its
 * secrets' files and dkim_private_key_path are the config check's.
 */

import { printable } from "../../base/printable.ts";
import type { Check, Say, Subject } from "./check.ts";

const GROUP_OR_OTHERS = 0o077;
const OTHERS = 0o007;
const OTHERS_READ = 0o004;
const OTHERS_WRITE = 0o002;
/** Findings; who has more open files has one mistake, many times. */
const SHOWN_MAX = 10;
const DOMAINS_MAX = 1_000;

/** Below the data directory, ours alone. */
const SECRETS = ["webhook_secret", "webhook_secret_next", "url_key", "gomail.db", "gomail.db-wal"];

const shownMode = (mode: number) => "0" + (mode & 0o7777).toString(8);

/** Null where it can't be told: not there, or not for us to see. */
async function modeOf(path: string): Promise<number | null> {
  const info = await Deno.stat(path).catch(() => null);
  return info?.mode ?? null;
}

async function namesIn(dir: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(dir)) {
      if (names.length < DOMAINS_MAX) names.push(`${dir}/${name}`);
    }
  } catch {
    // There is none, or it is not for us to see.
  }
  return names.sort();
}

/** Private keys, and the directories that they are in. */
async function dkimPaths(dataDir: string): Promise<string[]> {
  const dir = `${dataDir}/dkim`;
  const domains = await namesIn(dir);
  return [dir, ...domains, ...(await Promise.all(domains.map(namesIn))).flat()];
}

interface Place {
  topic: string;
  path: string;
  what: string;
  /** Bits that it may not have. */
  wrong: number;
  command: string;
}

async function placesOf({ config }: Subject): Promise<Place[]> {
  const dir = config.data_dir;
  const place = (topic: string, what: string, wrong: number, command: string) => (path: string): Place => {
    return { topic, path, what, wrong, command };
  };
  const keys = config.tls_key_file === undefined ? [] : [config.tls_key_file];
  // In a directory that lets nobody in nothing is open, whatever its mode.
  const isClosed = ((await modeOf(dir) ?? 0) & OTHERS) === 0;
  const inside = isClosed ? [] : [
    ...SECRETS.map((name) => `${dir}/${name}`).map(place("secrets", "the secret", OTHERS, "chmod o-rwx")),
    ...(await dkimPaths(dir)).map(place("dkim", "DKIM's", OTHERS, "chmod o-rwx")),
  ];
  return [
    place("data_dir", "data_dir", GROUP_OR_OTHERS, "chmod 0700")(dir),
    ...inside,
    ...keys.map(place("keys", "the private key", OTHERS_READ, "chmod o-r")),
    place("control_socket", "control_socket", OTHERS_WRITE, "chmod o-w")(config.control_socket),
  ];
}

const MEANS: Record<string, string> = {
  control_socket: "every user of this host may do everything through it",
};

async function look(places: readonly Place[], say: Say): Promise<{ seen: number; open: number }> {
  const modes = await Promise.all(places.map(({ path }) => modeOf(path)));
  let open = 0;
  places.forEach(({ topic, path, what, wrong, command }, i) => {
    const mode = modes[i]!;
    if (mode === null || (mode & wrong) === 0) return;
    if (++open > SHOWN_MAX) return;
    const means = MEANS[topic] ?? "it is open to other users";
    const shown = printable(path);
    say[topic === "data_dir" ? "notice" : "problem"](
      topic,
      `${what} ${shown} has mode ${shownMode(mode)}: ${means}`,
      `\`${command} ${shown}\``,
    );
  });
  return { seen: modes.filter((mode) => mode !== null).length, open };
}

export const filesCheck: Check = {
  name: "files",
  async run(subject, say) {
    const places = await placesOf(subject);
    const { seen, open } = await look(places, say);
    if (open > SHOWN_MAX) {
      const remedy = `\`chmod -R o-rwx ${printable(subject.config.data_dir)}\``;
      say.problem("more", `${open - SHOWN_MAX} more files are open to other users`, remedy);
    }
    if (seen === 0) say.skipped("modes", "there are no files of ours that this user may look at");
    else if (open === 0) say.ok("modes", "data_dir, keys and control socket are closed to other users");
  },
};
