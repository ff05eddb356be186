/**
 * What the schema can't see: keys that contradict each other, and what the config needs of its surroundings.
 * `validate` prints the result, the server doesn't start (or keeps its old config on reload) when there are
 * problems. Warnings are for what works, but not as somebody might think.
 */

import { tokenWeakness } from "../base/secret.ts";
import { outsideToWrite, SOCKET_OUTSIDE } from "../base/places.ts";
import { checkDkim } from "./check_dkim.ts";
import { checkDoors } from "./check_doors.ts";
import { checkOutbound } from "./check_outbound.ts";
import { checkRuntime } from "./check_runtime.ts";
import { checkWebhooks } from "./check_webhooks.ts";
import { Findings, type Surroundings } from "./findings.ts";
import { parseHttpUrl } from "./notation.ts";
import type { Problem } from "./problem.ts";
import { type Config, configOf, SECRET_KEYS } from "./schema.ts";
import type { LoadOk, LoadResult } from "./load.ts";

/** The one key to the API: an example's token is as good as none, and there are lists of them. */
function checkToken(config: Config, found: Findings): void {
  const token = config.bearer_token;
  const remedy = "set a random one, for example the output of: openssl rand -base64 32";
  if (token === undefined) {
    found.problem("bearer_token", undefined, "is not set: the server needs a token for its API", remedy);
    return;
  }
  const weakness = tokenWeakness(token);
  if (weakness !== null) found.problem("bearer_token", token, `could be guessed: it ${weakness}`, remedy);
  // "Never our own API token": a receiver that leaks its log must not leak the API with it.
  if (token === config.webhook_bearer_token) {
    const problem = "is the same as bearer_token: the receiver would hold the key to the API";
    found.problem("webhook_bearer_token", config.webhook_bearer_token, problem, "use another token");
  }
}

/** Secrets belong into files that only their owner and group can read (BAD-INPUT 63). */
function checkSecretPlaces(config: Config, found: Findings, surroundings: Surroundings): void {
  // Several secrets in one file are one finding.
  const openFiles = new Set<string>();
  const look = (path: string) => {
    const mode = surroundings.fileMode(path);
    if (mode !== null && (mode & 0o004) !== 0) openFiles.add(path);
  };
  const withFiles = config.routes.filter((route) => route.secret_file !== undefined);
  const hasOwn = config.routes.some((route) => route.secret !== undefined && route.secret_file === undefined);
  for (const route of withFiles) look(route.secret_file!);
  for (const name of [...SECRET_KEYS, ...(hasOwn ? ["routes"] as const : [])]) {
    if (config[name] === undefined) continue;
    const source = found.sourceOf(name);
    if (source.startsWith("flag ")) {
      const problem = "is given as a flag, where every user of this host can see it in the process list";
      const file = name === "routes" ? "secret_file in the routes" : `${name}_file`;
      found.warning(name, config[name], problem, `use ${file} or the environment`);
    }
    if (source.startsWith("file ")) look(source.slice(5));
  }
  for (const path of openFiles) {
    found.warning(path, undefined, "holds secrets and can be read by every user", `chmod o-rwx ${path}`);
  }
}

/** Others live here: data_dir becomes 0700, and what is in it is GoMail's to delete. */
const SYSTEM_DIRECTORIES: ReadonlySet<string> = new Set(
  ("/ /bin /boot /dev /etc /home /lib /lib32 /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp " +
    "/usr /usr/bin /usr/lib /usr/local /usr/sbin /usr/share /var /var/lib /var/log /var/spool").split(" "),
);
/** And everything below these. */
const SYSTEM_TREES = /^\/(?:bin|boot|etc|lib|lib32|lib64|proc|sbin|sys)\//;

/** The old daemon refused relative paths; here they work, for a try-out, and are named. */
function checkPlaces(config: Config, found: Findings): void {
  const dir = config.data_dir.replace(/\/+/g, "/").replace(/(?<=.)\/$/, "");
  if (SYSTEM_DIRECTORIES.has(dir) || SYSTEM_TREES.test(dir + "/")) {
    const remedy = "name a directory of its own, such as /var/lib/gomail";
    found.problem("data_dir", config.data_dir, "is a system directory", remedy);
  }
  for (const name of ["data_dir", "control_socket"] as const) {
    const outside = outsideToWrite(config[name]);
    const { reason, remedy } = name === "data_dir" ? outside ?? SOCKET_OUTSIDE : SOCKET_OUTSIDE;
    if (outside) found.problem(name, config[name], reason, remedy);
    if (config[name].startsWith("/")) continue;
    const problem = "is relative: it depends on the directory GoMail is started in";
    found.warning(name, config[name], problem, "write the whole path");
  }
}

/** Without domains every recipient is refused as relaying, which looks like a broken server. */
function checkDomains(config: Config, found: Findings): void {
  if (config.primary_domain === undefined && config.additional_domains.length === 0) {
    const problem = "is not set: mail is accepted only for domains added by `gomail domain add`";
    found.warning("primary_domain", undefined, problem, "set primary_domain");
  }
  if (config.mail_hostname !== undefined && !config.mail_hostname.includes(".")) {
    const problem = "is not a full host name: other servers may refuse to talk to it";
    found.warning("mail_hostname", config.mail_hostname, problem, "use the name that the PTR record has");
  }
}

/** Who is believed, and what URLs in payloads are made from. */
function checkHttp(config: Config, found: Findings): void {
  const { public_url: publicUrl } = config;
  const url = publicUrl === undefined ? null : parseHttpUrl(publicUrl);
  if (url && (url.username || url.password || url.search || url.hash)) {
    const problem = "has more than scheme, host and path: payload URLs are made by adding to it";
    found.problem("public_url", publicUrl, problem, "write https://host, perhaps with a path");
  }
  const everybody = ["0.0.0.0/0", "::/0"];
  for (const name of ["trusted_proxies", "xforward_peers"] as const) {
    const wide = config[name].find((entry) => everybody.includes(entry));
    if (wide === undefined) continue;
    found.warning(name, wide, "believes everybody about the client's address", "name your own proxies");
  }
}

/** DMARC rests on SPF or DKIM (RFC 9989): with neither, strict would refuse all mail of p=reject domains. */
function checkVerification(config: Config, found: Findings): void {
  if (config.dmarc_enabled && !config.spf_enabled && !config.dkim_enabled) {
    const problem = "can never pass: spf_enabled and dkim_enabled are both false";
    const remedy = "enable one of them, or set dmarc_enabled: false";
    if (config.dmarc_enforcement === "strict") found.problem("dmarc_enabled", true, problem, remedy);
    else found.warning("dmarc_enabled", true, problem, remedy);
  }
}

/** Everything that is wrong or odd about a config that loaded, as the server would find it. */
export function check(loaded: Pick<LoadOk, "config" | "sources">, surroundings: Surroundings): Findings {
  const { config } = loaded;
  const found = new Findings(loaded.sources);
  checkToken(config, found);
  checkSecretPlaces(config, found, surroundings);
  checkPlaces(config, found);
  checkDomains(config, found);
  checkHttp(config, found);
  checkDoors(config, found, surroundings);
  checkVerification(config, found);
  checkWebhooks(config, found);
  checkDkim(config, found, surroundings);
  checkOutbound(config, found);
  checkRuntime(config, found);
  return found;
}

/** The key that a finding is about; a secret's file stands for the secret. */
const keyOf = (path: string) => path.split(/[.[]/)[0]!.replace(/_file$/, "");

/**
 * A load result after the checks: what `server` starts with and reloads, and what `validate` prints. All
 * problems come at once, so a config that did not load is checked as well, but for the keys that are already
 * known as wrong.
 */
export function withChecks(result: LoadResult, surroundings: Surroundings): LoadResult {
  if (!result.ok && !result.isRead) return result;
  const config = result.ok ? result.config : { ...configOf(), ...result.partial };
  const found = check({ config, sources: result.sources }, surroundings);
  const known = new Set(result.ok ? [] : result.problems.map((problem) => keyOf(problem.path)));
  const isNew = (finding: Problem) => !known.has(keyOf(finding.path));
  const warnings = [...result.warnings, ...found.warnings.filter(isNew)];
  const problems = [...(result.ok ? [] : result.problems), ...found.problems.filter(isNew)];
  if (result.ok && problems.length === 0) return { ...result, warnings };
  return {
    ok: false,
    problems,
    warnings,
    file: result.file,
    partial: config,
    sources: result.sources,
    isRead: true,
  };
}
