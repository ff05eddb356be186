/**
 * A Debian host in a folder, for the page about disasters: the program from source, a daemon that is really stopped,
 * killed and started, age and the tools of every host as they are. What belongs to systemd, root or another host is a
 * stand-in; which forms of it are right is in the test.
 */

import { parse } from "@std/yaml";
import { gomail } from "../cli/support.ts";
import { DaemonProcess } from "../support/daemon_process.ts";
import { type Finished, run } from "../support/program.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** What backup create and list take when they are not told a folder. */
const BACKUPS = "/var/backups/gomail";
/** Words of a command that are places on the host. */
const PLACES = ["/etc/gomail", "/var/lib/gomail", BACKUPS, "/run/gomail"];

/** Stand-ins for programs, by name; each is a script of sh. The user gomail is whoever runs the tests. */
const SCRIPTS: Record<string, string> = {
  sudo: '[ "$1" = -u ] && shift 2\nexec "$@"',
  chown: "exit 0",
  install:
    `for word do shift; case "$word" in -o|-g) skip=1;; gomail) [ "$skip" ] || set -- "$@" "$word"; skip=;;
*) set -- "$@" "$word";; esac; done
exec /usr/bin/install "$@"`,
  rclone: "exit 0",
  restic: "exit 0",
  systemctl: "exit 0",
  sudoedit: "exit 0",
};

export interface Words {
  [word: string]: string;
}

export class Host {
  #daemon: DaemonProcess | null = null;
  readonly #root: string;
  readonly #bin: string;

  constructor(private readonly dir: string, private readonly values: Record<string, unknown>) {
    this.#root = `${dir}/root`;
    this.#bin = `${dir}/bin`;
  }

  get daemon(): DaemonProcess {
    if (this.#daemon === null) throw new Error("The daemon does not run");
    return this.#daemon;
  }

  /** Where a place on a host is here. */
  place(path: string): string {
    return `${this.#root}${path}`;
  }

  /** The tools of the operator, who outlives the hosts. */
  async equip(): Promise<void> {
    await Deno.mkdir(this.#bin);
    const program = `exec "${Deno.execPath()}" run -A --no-check "${ROOT}main.ts"`;
    const scripts: Record<string, string> = {
      ...SCRIPTS,
      // In a pipe; otherwise it runs in this process.
      gomail: `${program} "$@"`,
      // The last two words are from where and to where; of another host it sees the backups alone, as by rrsync.
      rsync: "while [ $# -gt 2 ]; do shift; done\n" +
        `case "$1" in *:/) from="${this.place(BACKUPS)}/";; *) from="$1";; esac\n` +
        'mkdir -p "$2" && exec cp -an "$from". "$2"',
    };
    for (const [name, script] of Object.entries(scripts)) {
      await Deno.writeTextFile(`${this.#bin}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    }
  }

  /** As the package leaves a host: with a token and a secret of its own, and the daemon running. */
  async install(token: string, webhookSecret: string): Promise<void> {
    for (const path of PLACES) await Deno.mkdir(this.place(path), { recursive: true, mode: 0o700 });
    const files = { bearer_token: token, webhook_secret: webhookSecret };
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(this.place(`/etc/gomail/${name}`), `${text}\n`, { mode: 0o600 });
    }
    await this.start({
      ...this.values,
      data_dir: this.place("/var/lib/gomail"),
      control_socket: this.place("/run/gomail/gomail.sock"),
      bearer_token: undefined,
      bearer_token_file: this.place("/etc/gomail/bearer_token"),
      webhook_secret_file: this.place("/etc/gomail/webhook_secret"),
    });
  }

  /** With the config that is there, unless told another. */
  async start(values?: Record<string, unknown>): Promise<void> {
    const dir = this.place("/etc/gomail");
    const there = () => parse(Deno.readTextFileSync(`${dir}/gomail.yaml`)) as Record<string, unknown>;
    this.#daemon = await DaemonProcess.start(dir, values ?? { ...there(), bearer_token: undefined });
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop();
    this.#daemon = null;
  }

  /** Nothing of it is left. */
  async lose(): Promise<void> {
    await this.#daemon?.kill();
    this.#daemon = null;
    await Deno.remove(this.#root, { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }

  /** In this process: forty commands would take half a minute to start. */
  async #gomail(args: string[]): Promise<Finished> {
    const isFolders = args[0] === "backup" && (args[1] === "create" || args[1] === "list");
    const all = isFolders ? [...args, "--dir", this.place(BACKUPS)] : args;
    const env = { MAIL_CONFIG: this.place("/etc/gomail/gomail.yaml") };
    return await gomail(all, { env, io: { now: () => Date.now() } });
  }

  /** As it is typed, with this host's places, ports and words. */
  async type(command: string, words: Words): Promise<Finished> {
    const addresses = this.#daemon?.addresses;
    const replaced: [string, string][] = [
      ...PLACES.map((path): [string, string] => [path, this.place(path)]),
      ["127.0.0.1:3000", addresses?.api ?? "127.0.0.1:3000"],
      ["127.0.0.1:9090", addresses?.metrics ?? "127.0.0.1:9090"],
      ...Object.entries(words),
    ];
    let here = command;
    for (const [there, place] of replaced) {
      here = here.replace(new RegExp(`(?<![\\w.])${there}(?!\\w)`, "g"), place);
    }
    const inProcess = /^(?:sudo (?:-u gomail )?)?gomail ([^|<>;&'"$]*)$/.exec(here)?.[1]?.split(" ");
    if (inProcess !== undefined) return await this.#gomail(inProcess);
    const { DENO_COVERAGE_DIR: _, ...env } = Deno.env.toObject();
    return await run("bash", ["-o", "pipefail", "-c", here], {
      cwd: this.dir,
      env: {
        ...env,
        PATH: `${this.#bin}:${env.PATH}`,
        MAIL_CONFIG: this.place("/etc/gomail/gomail.yaml"),
        NO_COLOR: "1",
      },
    });
  }
}
