/**
 * Units, AppArmor profile, package, compiled permissions and config schema are five places that say the same about
 * a host: which paths, which port, which modes, which user. Here all of them are read and compared.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import meta from "../../deno.json" with { type: "json" };
import { PACKAGED_SETTINGS, packagedConfig } from "../../packaging/build/config_file.ts";
import { CONFFILES, FILES } from "../../packaging/build/deb_files.ts";
import { GRANTS } from "../../packaging/build/permissions.ts";
import { check } from "../../src/config/check.ts";
import { CONFIG_PATHS, load, type LoadOk } from "../../src/config/load.ts";
import { parseListen } from "../../src/config/notation.ts";
import { configOf, SECRET_KEYS } from "../../src/config/schema.ts";
import { handedSockets } from "../../src/daemon/handed_sockets.ts";
import { assertGolden } from "../config/support.ts";
import { test } from "../support/test.ts";
import { allows, fileRules, profileOf } from "./apparmor_file.ts";
import { readUnit, spanMs } from "./unit_file.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const read = (path: string) => Deno.readTextFile(ROOT + path);

const service = await readUnit("gomail.service");
const smtp = await readUnit("gomail-smtp.socket");
const control = await readUnit("gomail-control.socket");
const profile = profileOf(await read("apparmor/usr.bin.gomail"), "gomail");
const postinst = await read("packaging/deb/postinst");
const prerm = await read("packaging/deb/prerm");
const postrm = await read("packaging/deb/postrm");
const rules = fileRules(profile);
const defaults = configOf();

/** `d /var/lib/gomail 0700 gomail gomail -` by path. */
const tmpfiles = new Map(
  (await read("packaging/deb/tmpfiles.conf")).split("\n").filter((line) => line.startsWith("d "))
    .map((line) => line.split(" ")).map(([, path, mode, user, group]) => [path!, { mode, user, group }]),
);
const [, user, , , home] = /^u (\S+) (\S+) ("[^"]*") (\S+)$/m.exec(
  await read("packaging/deb/sysusers.conf"),
)!;

const granted = (flag: string) => GRANTS.find((grant) => grant.flag === flag)!.values!;
const packaged = (path: string) => FILES.find((file) => `/${file.path}` === path);

/** The packaged config, as it loads on a host where postinst has made the secrets. */
function loadPackaged(): LoadOk {
  const files: Record<string, string> = {
    [CONFIG_PATHS[0]!]: packagedConfig(),
    [PACKAGED_SETTINGS.bearer_token_file!]: "q3Zb-7xLw_0sTuV2yKfJ8mNcR5hDgEaP\n",
    [PACKAGED_SETTINGS.webhook_secret_file!]: `whsec_${btoa("0123456789abcdef0123456789ABCDEF")}\n`,
  };
  const loaded = load({
    flags: new Map(),
    env: { get: () => undefined, names: () => [] },
    readFile(path) {
      if (files[path] === undefined) throw new Deno.errors.NotFound(path);
      return new TextEncoder().encode(files[path]);
    },
  });
  assert(loaded.ok, JSON.stringify(loaded));
  return loaded;
}

test("the data directory is the same everywhere: gomail's alone", () => {
  const dir = defaults.data_dir;
  assertEquals(dir, `/var/lib/${service.one("Service", "StateDirectory")}`);
  assertEquals(service.one("Service", "WorkingDirectory"), dir);
  assertEquals(home, dir);
  assertEquals(service.one("Service", "StateDirectoryMode"), "0700");
  assertEquals(tmpfiles.get(dir), { mode: "0700", user: "gomail", group: "gomail" });
  assert(granted("--allow-write").includes(dir));
  assert(allows(rules, `${dir}/`, "rw") && allows(rules, `${dir}/gomail.db-wal`, "rwk"));
  assert(allows(rules, `${dir}/.doctor-1`, "rw"));
  assertStringIncludes(postrm, dir);
});

test("keys that mail is signed with are below the data directory, and come and go with it", async () => {
  const dir = defaults.data_dir;
  assertStringIncludes(
    await read("src/outbound/dkim_files.ts"),
    'join(this.options.dataDir, "dkim", domain)',
  );
  assert(allows(rules, `${dir}/dkim/example.com/gm-rsa.pem`, "rw"));
  assertEquals(service.one("Service", "UMask"), "0077");
  // A removal touches nothing in there; a purge deletes whatever is.
  assertEquals([prerm, postrm.split('[ "$1" = purge ]')[0]!].filter((script) => script.includes(dir)), []);
  assertMatch(postrm, /find "\$dir" -xdev -mindepth 1 -delete/);
  // The other way, a key of the administrator's: read, and never written.
  const own = "/etc/gomail/dkim/default.pem";
  assert(granted("--allow-read").some((place) => own.startsWith(`${place}/`)));
  assert(allows(rules, own, "r") && !allows(rules, own, "w"));
});

test("the service may call any server from any address of its host: mail hosts, policies, the smarthost", () => {
  // A source address without a port of its own needs no capability; what would forbid it is in none of these.
  for (
    const key of [
      "SocketBindDeny",
      "SocketBindAllow",
      "IPAddressDeny",
      "PrivateNetwork",
      "RestrictNetworkInterfaces",
    ]
  ) {
    assertEquals(service.all("Service", key), [], key);
  }
  const families = service.one("Service", "RestrictAddressFamilies").split(" ");
  for (const family of ["AF_INET", "AF_INET6"]) assert(families.includes(family), family);
  assert(GRANTS.some(({ flag, values }) => flag === "--allow-net" && values === undefined));
  for (const family of ["inet", "inet6"]) {
    assertMatch(profile, new RegExp(`^ {2}network ${family} stream,$`, "m"));
  }
  assertEquals([...profile.matchAll(/^ *(?:audit )?deny network (\S+),$/gm)].map(([, what]) => what), [
    "raw",
    "packet",
  ]);
});

test("the control socket is the same everywhere, and its mode is the access check", () => {
  const path = defaults.control_socket;
  assertEquals(control.one("Socket", "ListenStream"), path);
  assertEquals(control.one("Socket", "SocketMode"), "0660");
  assertEquals([control.one("Socket", "SocketUser"), control.one("Socket", "SocketGroup")], [user, user]);
  const dir = `/run/${service.one("Service", "RuntimeDirectory")}`;
  assertEquals(path, `${dir}/gomail.sock`);
  const mode = service.one("Service", "RuntimeDirectoryMode");
  assertEquals(mode, "0750");
  assertEquals(control.one("Socket", "DirectoryMode"), mode);
  assertEquals(tmpfiles.get(dir), { mode, user: "gomail", group: "gomail" });
  // Else the socket's file would go with the service, and the socket unit would listen on nothing.
  assertEquals(service.one("Service", "RuntimeDirectoryPreserve"), "yes");
  assert(granted("--allow-read").includes(dir) && granted("--allow-write").includes(dir));
  assert(allows(rules, path, "rw"));
});

test("the port of the SMTP socket is the default of smtp_listen, dual stack", () => {
  const places = defaults.smtp_listen.map(parseListen);
  assertEquals(places, [{ host: "::", port: Number(smtp.one("Socket", "ListenStream")) }]);
  assertEquals(smtp.one("Socket", "BindIPv6Only"), "both");
});

test("the daemon knows what the socket units hand over, by name", () => {
  const names = [control, smtp].map((unit) => unit.one("Socket", "FileDescriptorName"));
  const env = new Map([["LISTEN_FDS", "2"], ["LISTEN_PID", "7"], ["LISTEN_FDNAMES", names.join(":")]]);
  const handed = handedSockets((name) => env.get(name), 7);
  assertEquals(handed, { control: 3, smtp: [{ kind: "smtp", fd: 4 }], unknown: [] });
});

test("sockets are wanted by the service and required by nothing, and come and go with it", () => {
  for (const unit of [smtp, control]) {
    assertEquals(unit.one("Socket", "Service"), service.name);
    assertEquals(unit.one("Install", "WantedBy"), service.name);
  }
  for (const key of ["Requires", "BindsTo", "Requisite"]) assertEquals(service.all("Unit", key), [], key);
  assertEquals(service.one("Install", "Also"), `${smtp.name} ${control.name}`);
});

test("the port's socket waits at boot for every mail server that GoMail knows by name", async () => {
  const known = [...(await read("src/config/busy_port.ts")).matchAll(/unit: "([\w-]+)"/g)].map(([, u]) => u!);
  const waitsFor = smtp.all("Unit", "After").join(" ").split(" ");
  assertEquals(known.filter((unit) => !waitsFor.includes(`${unit}.service`)), []);
  // Without this it would be ordered before all services, and After= them: a circle, which systemd breaks anyhow.
  assertEquals(smtp.one("Unit", "DefaultDependencies"), "no");
});

test("one user: of the service, its sockets, its directories and its secrets", () => {
  assertEquals(user, "gomail");
  assertEquals([service.one("Service", "User"), service.one("Service", "Group")], [user, user]);
  for (const [path, owner] of tmpfiles) assertEquals([owner.user, owner.group], [user, user], path);
  const chgrp = [...postinst.matchAll(/\bchgrp (\S+)/g)].map(([, group]) => group);
  assertEquals(chgrp, [user, user]);
});

test("the config is where the program, the unit, the package and the profile look for it", () => {
  const path = CONFIG_PATHS[0]!;
  assertEquals(service.one("Service", "ExecStart"), `/usr/bin/gomail server --config ${path}`);
  assertEquals(packaged(path)?.mode, 0o640);
  assert(CONFFILES.includes(path));
  assertStringIncludes(postinst, `CONFIG=${path}\n`);
  for (const place of CONFIG_PATHS) assert(allows(rules, place, "r"), place);
  assert(!allows(rules, path, "w"));
});

test("the packaged config is the example with our settings, and is committed as it is made", async () => {
  await assertGolden("../../packaging/deb/gomail.yaml", packagedConfig());
});

test("the packaged config is valid as it is, takes systemd's sockets, and holds no secret", () => {
  const loaded = loadPackaged();
  assertEquals(loaded.warnings, []);
  assertEquals(loaded.config.mode, "socket");
  const set = [...loaded.sources].filter(([, source]) => source !== "default").map(([key]) => key).sort();
  const secretFiles = Object.keys(PACKAGED_SETTINGS).filter((key) => key.endsWith("_file"));
  assertEquals(set, [...Object.keys(PACKAGED_SETTINGS), ...secretFiles.map((k) => k.slice(0, -5))].sort());
  for (const key of SECRET_KEYS) {
    assert(!new RegExp(`^${key}:`, "m").test(packagedConfig()), key);
    if (set.includes(key)) assertStringIncludes(loaded.sources.get(key)!, "file /etc/gomail/");
  }
  // What is left to say is what only its owner knows: the service runs, and takes mail for nobody.
  const found = check(loaded, { readFile: () => new Uint8Array(), fileMode: () => 0o640, now: Date.now });
  assertEquals(found.problems.filter(({ path }) => path !== "tls_enabled" && path !== "mode"), []);
  assertEquals(found.warnings.map(({ path }) => path).sort(), ["primary_domain", "webhook_url"]);
});

test("token and secret are made where the config names them, for root and the group, and go at purge", () => {
  for (const [key, path] of Object.entries(PACKAGED_SETTINGS)) {
    if (!key.endsWith("_file")) continue;
    assertStringIncludes(postinst, `=${path}\n`);
    assertStringIncludes(postinst, `^${key}: *$`);
    assertStringIncludes(postrm, `${path}*`);
    assert(allows(rules, path, "r") && !allows(rules, path, "w"), path);
    assertEquals(packaged(path), undefined, "no secret comes with the package");
  }
  const modes = [...postinst.matchAll(/\bchmod (\S+) "\$(\w+)"/g)].map(([, mode, name]) => `${name} ${mode}`);
  assertEquals(modes, ["new 0640", "CONFIG 0640"]);
  assert(!/\bset -\w*x/.test(postinst), "a trace would show them");
});

test("the profile lets the daemon have what it was compiled with but backups, and write nowhere else", () => {
  const places = (flag: string) =>
    granted(flag).filter((path) => path.startsWith("/") && path !== "/var/backups/gomail");
  for (const path of places("--allow-write")) {
    assert(allows(rules, path, "w") || allows(rules, `${path}/x`, "w"), `cannot write ${path}`);
  }
  for (const path of places("--allow-read")) {
    const within = path === "/run/credentials" ? `${path}/gomail.service/x` : `${path}/x`;
    const isAllowed = [path, within, `${path}/`].some((one) => allows(rules, one, "r"));
    assert(isAllowed || allows(rules, path, "w"), `cannot read ${path}`);
  }
  const writable = rules.filter((rule) => !rule.isDenied && /[wkla]/.test(rule.mode))
    .map(({ path }) => path.replace("@{run}", "/run"));
  const own = places("--allow-write");
  const foreign = writable.filter((path) =>
    !own.some((place) => path === place || path.startsWith(`${place}/`))
  );
  assertEquals(foreign, []);
});

test("the profile allows no execution and no capability, and is the one that the unit asks for", () => {
  assertEquals(rules.filter((rule) => !rule.isDenied && /[xiupUPC]/.test(rule.mode.replace("r", ""))), []);
  assertEquals([...profile.matchAll(/^ *([^#\n]*\bcapability\b.*)$/gm)].map(([, rule]) => rule), [
    "audit deny capability,",
  ]);
  const name = /^profile (\S+) flags=\(attach_disconnected\) \{$/m.exec(profile)![1];
  assertEquals(service.one("Service", "AppArmorProfile"), `-${name}`);
  for (const path of ["/etc/shadow", "/root/.ssh/id", "/home/a/b", "/etc/passwd"]) {
    assert(!allows(rules, path, "w"), path);
  }
  for (const path of ["/etc/shadow", "/root/.ssh/id", "/home/a/b"]) assert(!allows(rules, path, "r"), path);
  for (const path of ["/bin/sh", "/usr/bin/dash", "/usr/bin/gomail"]) assert(!allows(rules, path, "x"), path);
});

test("the profile's local additions are the file that postinst makes and postrm removes", () => {
  const local = /include if exists <(local\/\S+)>/.exec(profile)![1]!;
  assert(CONFFILES.includes("/etc/apparmor.d/usr.bin.gomail"));
  assertStringIncludes(postinst, `local_profile=/etc/apparmor.d/${local}\n`);
  assertStringIncludes(postrm, `rm -f /etc/apparmor.d/${local}\n`);
});

test("backups have a place of their own, which the daemon has no way to", () => {
  const dir = "/var/backups/gomail";
  assertEquals(tmpfiles.get(dir), { mode: "0700", user: "gomail", group: "gomail" });
  assert(granted("--allow-write").includes(dir));
  assertEquals(service.all("Service", "ReadWritePaths"), []);
  assertEquals(service.one("Service", "InaccessiblePaths"), `-${dir}`);
  for (const mode of ["r", "w"]) assert(!allows(rules, `${dir}/x`, mode), mode);
});

test("the service manager waits longer than the daemon drains, and gives it the files it may open", () => {
  assert(spanMs(service.one("Service", "TimeoutStopSec")) > defaults.shutdown_timeout + 10_000);
  // Each connection may hold a spool file; the API takes 4096 connections of its own.
  assert(Number(service.one("Service", "LimitNOFILE")) > 2 * (defaults.max_total_connections + 4096));
});

test("every unit is packaged, and enabled, stopped and forgotten by the scripts", async () => {
  const units = [...Deno.readDirSync(`${ROOT}systemd`)].map(({ name }) => name);
  for (const name of units) {
    assert(packaged(`/lib/systemd/system/${name}`), name);
    if ((await readUnit(name)).all("Install", "WantedBy").length === 0) continue;
    for (const script of [postinst, prerm, postrm]) assertStringIncludes(script, name);
  }
});

test("the places that users are promised are in the package", () => {
  const promised = ["/usr/bin/gomail", "/etc/gomail/gomail.yaml", "/etc/apparmor.d/usr.bin.gomail"];
  for (const path of promised) assert(packaged(path), path);
  for (const part of ["/usr/share/doc/gomail/", "/usr/share/man/man1/gomail.1"]) {
    assert(FILES.some(({ path }) => `/${path}`.startsWith(part)), part);
  }
});

test("the package's changelog begins with this version", async () => {
  const first = (await read("packaging/deb/changelog")).split("\n")[0]!;
  assertStringIncludes(first, `gomail (${meta.version}) `);
});
