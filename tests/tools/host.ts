/**
 * A host in a folder, for commands that people type: `gomail` on PATH is the program from source, with the config of
 * a daemon that runs; what belongs to systemd and root are stand-ins that know the forms listed here and no others.
 */

import { stringify } from "@std/yaml";
import { TEST_TOKEN } from "../support/daemon_process.ts";
import type { TestDaemon } from "../support/harness.ts";
import { type Finished, run } from "../support/program.ts";
import { MONITORING, ROOT } from "../monitoring/support.ts";

/** What the stand-ins take, word for word. `journalctl` answers with the daemon's own log. */
export const FORMS: Readonly<Record<string, readonly string[]>> = {
  systemctl: [
    "status gomail --no-pager",
    "status gomail.slice --no-pager",
    "status gomail-smtp.socket --no-pager",
    "status gomail-backup --no-pager",
    "status postfix --no-pager",
    "list-timers gomail-backup.timer --no-pager",
    "is-enabled gomail-backup.timer",
    "enable gomail-backup.timer --now",
    "start gomail-backup",
    "is-active gomail",
    "start gomail",
    "restart gomail",
    "reload gomail",
    "reload prometheus",
    "stop gomail gomail-smtp.socket gomail-control.socket",
    "show gomail --property NRestarts,Result,ExecMainStatus",
    "show gomail.slice --property MemoryHigh,MemoryMax,MemoryCurrent",
  ],
  "systemd-tmpfiles": ["--create gomail.conf"],
  journalctl: [
    "-u gomail-backup -n 50 -o cat",
    "-u gomail --since -1h -o cat",
    "-u gomail --since -6h -o cat",
    "--vacuum-size=200M",
  ],
  sudoedit: ["/etc/gomail/gomail.yaml"],
  certbot: ["renew"],
  dmesg: ["--level err,warn"],
};

export class CommandHost {
  private constructor(
    private readonly d: TestDaemon,
    /** What stands in runbooks, and what it is here. */
    private readonly places: readonly [there: string, here: string][],
    private readonly bin: string,
  ) {}

  /** `words`: the words in capitals that a person replaces. */
  static async make(d: TestDaemon, smarthost: string, words: Record<string, string>): Promise<CommandHost> {
    const { addresses } = d.daemon;
    const bin = `${d.dir}/bin`;
    for (const dir of [bin, `${d.dir}/backups`, `${d.dir}/home`]) await Deno.mkdir(dir);
    const [api, metrics, smtp] = [addresses.api, addresses.metrics!, addresses.smtp[0]!];
    const port = (address: string) => Number(address.split(":").at(-1));
    const config = {
      port: port(api),
      metrics_port: port(metrics),
      smtp_listen: [smtp],
      data_dir: `${d.dir}/data`,
      control_socket: `${d.dir}/gomail.sock`,
      bearer_token: TEST_TOKEN,
      mail_hostname: "mx.example.com",
      primary_domain: "example.com",
      dns_servers: [d.zone.address],
      webhook_url: d.receiver.url,
      webhook_allow_private: true,
      outbound_smarthost: smarthost,
      disk_reserve: 1,
    };
    await Deno.writeTextFile(`${d.dir}/gomail.yaml`, stringify(config), { mode: 0o600 });
    await Deno.writeTextFile(`${d.dir}/token`, TEST_TOKEN, { mode: 0o600 });
    const write = (name: string, script: string) =>
      Deno.writeTextFile(`${bin}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const program = `exec "${Deno.execPath()}" run -A --no-check "${ROOT}main.ts" "$@"`;
    // The folder of backups is fixed, and not in this one.
    const inBackups = `"backup create"|"backup list") ${program} --dir "${d.dir}/backups/gomail";;`;
    await write("gomail", `case "$1 $2" in ${inBackups} esac\n${program}`);
    await write("sudo", '[ "$1" != -u ] || shift 2\nexec "$@"');
    for (const [name, forms] of Object.entries(FORMS)) {
      await Deno.writeTextFile(`${d.dir}/${name}.forms`, forms.map((form) => form + "\n").join(""));
      const known =
        `grep -qxF -e "$*" "${d.dir}/${name}.forms" || { echo "$0 $*: no such form" >&2; exit 64; }`;
      await write(name, name === "journalctl" ? `${known}\nexec cat "${d.dir}/log"` : known);
    }
    const places: [string, string][] = [
      ["127.0.0.1:3000", api],
      ["127.0.0.1:9090", metrics],
      ["127.0.0.1:25", smtp],
      ["/etc/gomail/bearer_token", `${d.dir}/token`],
      ["/etc/prometheus/prometheus.yml", `${MONITORING}/prometheus.yml`],
      ["/var/lib/gomail", `${d.dir}/data`],
      ["/var/backups", `${d.dir}/backups`],
    ];
    return new CommandHost(d, [...places, ...Object.entries(words)], bin);
  }

  /** As it is typed, with this host's places and words. A pipe fails where any part of it does. */
  async type(command: string): Promise<Finished> {
    await Deno.writeTextFile(`${this.d.dir}/log`, this.d.rawLines.join("\n") + "\n");
    let here = command;
    for (const [there, place] of this.places) {
      here = here.replace(new RegExp(`(?<![\\w.])${there}(?![\\w])`, "g"), place);
    }
    const { DENO_COVERAGE_DIR: _, ...env } = Deno.env.toObject();
    return await run("bash", ["-o", "pipefail", "-c", here], {
      cwd: `${this.d.dir}/home`,
      env: {
        ...env,
        PATH: `${this.bin}:${env.PATH}`,
        MAIL_CONFIG: `${this.d.dir}/gomail.yaml`,
        NO_COLOR: "1",
      },
    });
  }
}
