/**
 * What the executable may do: the only list, with a reason for each line. Fixed when it is compiled; the unit and
 * the AppArmor profile narrow it further on a host. Everything not named here is refused without a question
 * (`--no-prompt`), and refused for good: a running program can't ask for more.
 *
 * Paths are resolved when the executable runs, `.` against the directory it is started in.
 */

import { CONFIG_PLACES, OWN_PLACES, TRY_OUT_PLACES } from "../../src/base/places.ts";

interface Grant {
  flag: string;
  values?: readonly string[];
  why: string;
}

/** systemd's end of sd_notify(3); to send to a socket is to read and write it. */
const NOTIFY = "/run/systemd/notify";

export const GRANTS: readonly Grant[] = [
  {
    flag: "--allow-net",
    why:
      "Listens where the config says, and calls name servers and receivers that only the config knows, and mail " +
      "servers that only a recipient's DNS knows. Which of them are private addresses is decided per address, in " +
      "delivery/egress/guard.ts and delivery/smtp/mx.ts.",
  },
  {
    flag: "--allow-read",
    values: [
      ...OWN_PLACES,
      ...TRY_OUT_PLACES,
      NOTIFY,
      // Certificates too, where certbot and Debian keep them, and secrets that systemd hands over (LoadCredential=).
      ...CONFIG_PLACES,
      "/etc/resolv.conf", // The name servers.
      "/etc/hosts",
      "/run/systemd/timesync", // Whether the clock is kept, for `doctor`.
      "/run/systemd/system", // Whether systemd is there, for what to type.
    ],
    why: "Its own places, its configuration, and what name resolution and TLS need.",
  },
  {
    flag: "--allow-write",
    values: [...OWN_PLACES, ...TRY_OUT_PLACES, NOTIFY],
    why: "Its own places. Not its configuration: that is the administrator's.",
  },
  {
    flag: "--allow-env",
    values: [
      "MAIL_*",
      "API_BEARER_TOKEN",
      "NOTIFY_SOCKET", // sd_notify(3)
      "WATCHDOG_*",
      "LISTEN_*", // sd_listen_fds(3)
      "CREDENTIALS_DIRECTORY",
      "TMPDIR",
      "NO_COLOR",
      "TERM",
    ],
    why: "The configuration's variables, and those of the service manager and the terminal.",
  },
  {
    flag: "--ignore-env",
    why: "Libraries that ask for any other variable hear that it is not set, and go on.",
  },
  {
    flag: "--allow-sys",
    values: [
      "hostname", // For the greeting, when no name is configured.
      "statfs", // The free space that `disk_reserve` is about.
      "networkInterfaces", // Asked by node:dns when a resolver is made.
    ],
    why: "Facts about the host, none of which can change it.",
  },
  { flag: "--deny-run", why: "Starts no other program, whatever a hostile mail makes it want." },
  { flag: "--deny-ffi", why: "Loads no native library." },
  { flag: "--deny-import", why: "Runs no code but what is inside." },
  { flag: "--no-prompt", why: "A daemon has nobody to ask." },
];

/** As `deno run` and `deno compile` take them. */
export function permissionFlags(): string[] {
  return GRANTS.map(({ flag, values }) => values ? `${flag}=${values.join(",")}` : flag);
}

/**
 * No permissions, but as fixed. Without the first, compiled code is kept in a predictable file of a directory that
 * all may write. The last keeps V8's young generation small: each thread has one, and by default they grow to
 * many times what a mail needs before anything is collected.
 */
export const COMPILE_FLAGS = ["--no-code-cache", "--unstable-net", "--v8-flags=--max-semi-space-size=4"];
