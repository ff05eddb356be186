/**
 * Everything that the package puts on a host: where, with which mode, and made from what. One table, so that the
 * checks of the built package compare it with this and not with themselves.
 */

import { gzip } from "node:zlib";
import { promisify } from "node:util";
import { packagedConfig } from "./config_file.ts";
import { ROOT } from "./paths.ts";
import { run } from "./process.ts";

export interface PackagedFile {
  /** On the host, without the first slash. */
  path: string;
  mode: number;
  /** From the checkout as it is, ... */
  source?: string;
  /** ... or made; the bytes must be the same each time. */
  make?: (build: DebBuild) => Promise<string | Uint8Array>;
}

/** What the made files need to know. */
export interface DebBuild {
  executable: string;
  copyright: string;
}

export const CONFFILES = ["/etc/apparmor.d/usr.bin.gomail", "/etc/gomail/gomail.yaml"];
export const MAINTAINER_SCRIPTS = ["postinst", "prerm", "postrm"];

/** As Debian's own packages do it: the best compression, no name and no time in it. */
async function compressed(path: string): Promise<Uint8Array> {
  const bytes = await promisify(gzip)(await Deno.readFile(`${ROOT}/${path}`), { level: 9 });
  // The operating system that made it, which has no bearing on anything (RFC 1952 2.3.1): always Unix.
  bytes[9] = 3;
  return new Uint8Array(bytes);
}

/** From the sources and not from the executable, which may be for another machine. */
function completions(shell: string): Promise<string> {
  const args = ["run", "-A", "--quiet", `${ROOT}/main.ts`, "completions", shell];
  return run(Deno.execPath(), args, { quiet: true });
}

const DOC = "usr/share/doc/gomail";

/** What is read on the host and edited elsewhere, as it is in the checkout: README files of it included. */
function folder(source: string, target: string): PackagedFile[] {
  const names = [...Deno.readDirSync(`${ROOT}/${source}`)].map(({ name }) => name).sort();
  return names.map((name) => ({ path: `${target}/${name}`, mode: 0o644, source: `${source}/${name}` }));
}

/** Units are in /lib as long as bookworm is what we build for: its tools look nowhere else. */
const UNITS = [
  "gomail.service",
  "gomail-smtp.socket",
  "gomail-control.socket",
  "gomail.slice",
  "gomail-backup.service",
  "gomail-backup.timer",
];

export const FILES: readonly PackagedFile[] = [
  { path: "usr/bin/gomail", mode: 0o755, make: ({ executable }) => Deno.readFile(executable) },
  // No secret in it, and nobody's business all the same: it says what the host is and does. postinst gives it to
  // group gomail.
  { path: "etc/gomail/gomail.yaml", mode: 0o640, source: "packaging/deb/gomail.yaml" },
  { path: "etc/apparmor.d/usr.bin.gomail", mode: 0o644, source: "apparmor/usr.bin.gomail" },
  ...UNITS.map((unit) => ({ path: `lib/systemd/system/${unit}`, mode: 0o644, source: `systemd/${unit}` })),
  { path: "usr/lib/sysusers.d/gomail.conf", mode: 0o644, source: "packaging/deb/sysusers.conf" },
  { path: "usr/lib/tmpfiles.d/gomail.conf", mode: 0o644, source: "packaging/deb/tmpfiles.conf" },
  { path: "usr/share/man/man1/gomail.1.gz", mode: 0o644, make: () => compressed("packaging/man/gomail.1") },
  {
    path: "usr/share/bash-completion/completions/gomail",
    mode: 0o644,
    make: () => completions("bash"),
  },
  { path: "usr/share/zsh/vendor-completions/_gomail", mode: 0o644, make: () => completions("zsh") },
  { path: "usr/share/fish/vendor_completions.d/gomail.fish", mode: 0o644, make: () => completions("fish") },
  { path: "usr/share/lintian/overrides/gomail", mode: 0o644, source: "packaging/deb/lintian-overrides" },
  { path: `${DOC}/copyright`, mode: 0o644, make: async ({ copyright }) => copyright },
  // A native package has one changelog in Debian's form, and this is its name (Policy 12.7).
  { path: `${DOC}/changelog.gz`, mode: 0o644, make: () => compressed("packaging/deb/changelog") },
  { path: `${DOC}/CHANGELOG.md.gz`, mode: 0o644, make: () => compressed("CHANGELOG.md") },
  { path: `${DOC}/README.md.gz`, mode: 0o644, make: () => compressed("README.md") },
  {
    path: `${DOC}/performance.md.gz`,
    mode: 0o644,
    make: () => compressed("packaging/doc/performance.md"),
  },
  {
    path: `${DOC}/disaster-recovery.md.gz`,
    mode: 0o644,
    make: () => compressed("packaging/doc/disaster-recovery.md"),
  },
  { path: `${DOC}/security.md.gz`, mode: 0o644, make: () => compressed("packaging/doc/security.md") },
  { path: `${DOC}/README.Debian`, mode: 0o644, source: "packaging/deb/README.Debian" },
  // Alerts name a runbook by this place.
  ...folder("packaging/doc/runbooks", `${DOC}/runbooks`),
  ...folder("packaging/monitoring", `${DOC}/examples/monitoring`),
  { path: `${DOC}/examples/certbot-deploy-hook`, mode: 0o644, source: "packaging/deb/certbot-deploy-hook" },
  { path: `${DOC}/examples/gomail.yaml`, mode: 0o644, make: async () => packagedConfig() },
];
