/**
 * The first GoMail was a Go program, and its config files load unchanged: each documented key that no longer
 * does anything is taken with a warning that says what replaced it, a few become the key that does their
 * work now. Nothing is ignored in silence, and a value of the new key always wins over one that was moved to
 * it.
 */

import type { Layer, Written } from "./layers.ts";
import { nearest } from "../base/nearest.ts";
import { defaultsAsWritten } from "./example.ts";
import { parseDuration, parseHttpUrl, parseSize } from "./notation.ts";
import { isPrivateHost } from "./private_host.ts";
import { type Problem, showValue } from "./problem.ts";
import type { ConfigKey } from "./schema.ts";

/** Keys without effect, and what does their work now: "<key> has no effect any more: <text>". */
const GONE: ReadonlyMap<string, string> = new Map(Object.entries({
  webhook_retries: "webhooks are tried until webhook_max_age",
  webhook_retry_delay: "the delays are fixed (5 s to 1 h) and end with webhook_max_age",
  storage_mode: "mail and queue are kept in one database in data_dir",
  connection_pool_size: "the database needs no pool; webhook_concurrency limits webhooks",
  max_connections: "max_total_connections and max_connections_per_ip limit SMTP connections",
  max_idle_conns: "connections to receivers are kept as needed",
  cleanup_interval: "retention runs by itself; retention_age and retention_bytes say what goes",
  dmarc_reporting: "aggregate reports are not sent",
  postfix_queue_directory: "mail comes by SMTP (proxy_listen, lmtp_listen), not from Postfix's files",
  postfix_config_directory: "mail comes by SMTP (proxy_listen, lmtp_listen), Postfix's files are not written",
  postfix_main_cf: "Postfix's files are not written",
  postfix_virtual_regex:
    "Postfix's files are not written; primary_domain and additional_domains are the domains",
  postfix_domains_list:
    "Postfix's files are not written; primary_domain and additional_domains are the domains",
  log_file: "logs go to stderr, where journald or the container keeps them",
  log_rotation_size: "logs go to stderr; journald rotates them",
  log_rotation_age: "logs go to stderr; journald rotates them",
  log_retention: "logs go to stderr; journald keeps them for as long as it is told",
  health_check_interval: "health is looked at when /health is asked",
  digitalocean_token: "DNS is not changed by GoMail any more",
  digitalocean_domain_id: "DNS is not changed by GoMail any more",
  do_api_token: "DNS is not changed by GoMail any more",
  validation: "spf_enabled, dkim_enabled and dmarc_enabled say what is checked, and headers always are",
  panic_recovery: "it is always on",
  request_id_header: "the header is always X-Request-ID",
  cors_enabled: "the API is for servers; a proxy in front can add CORS headers",
  cors_origins: "the API is for servers; a proxy in front can add CORS headers",
}));

/** Keys whose value goes to another key. */
const MOVED: ReadonlyMap<string, string> = new Map(Object.entries({
  max_storage_size: "retention_bytes",
  cleanup_age: "retention_age",
  http_timeouts_read: "read_timeout",
  http_timeouts_write: "write_timeout",
  http_timeouts_handler: "handler_timeout",
  http_timeouts_idle: "idle_timeout",
  http_timeouts_shutdown: "shutdown_timeout",
}));

/** The parts of the nested `http_timeouts`. */
const HTTP_TIMEOUTS = ["read", "write", "handler", "idle", "shutdown"];

/** Every legacy name, for the environment. */
export const LEGACY_KEYS: readonly string[] = [
  ...GONE.keys(),
  ...MOVED.keys(),
  "api_endpoint",
  "debug_mode",
];

/** Where 0 was allowed, and no limit or no time at all is no way to run. */
const ZEROS: readonly ConfigKey[] = [
  "rate_limit_per_minute",
  "rate_limit_burst",
  "read_timeout",
  "write_timeout",
  "idle_timeout",
  "handler_timeout",
];

/** The first GoMail's default of dkim_private_key_path, which it saved whether there was a key or not. */
export const OLD_DKIM_KEY_PATH = "/etc/mailserver/dkim/private.key";

/** Profiles that changed defaults; what they changed has keys of its own. */
const OLD_MODES = ["production", "development", "testing"];

export interface LegacyResult {
  /** The layer with legacy keys and values replaced by what they mean now. */
  layer: Layer;
  warnings: Problem[];
  problems: Problem[];
}

/** What is being replaced, and what is said about it. */
type Place = { layer: Layer; warnings: Problem[]; problems: Problem[] };

function warn(place: Place, path: string, written: Written, problem: string, remedy: string): void {
  place.warnings.push({
    path,
    value: showValue(path, written.value),
    problem,
    remedy,
    source: written.source,
  });
}

/** Hands `written` to the key `to`, unless that is written itself, at the same rank or above. */
function moveTo(place: Place, path: string, written: Written, to: string): void {
  const present = place.layer.get(to);
  if (present && present.rank >= written.rank) {
    return warn(place, path, written, `is ignored: ${to} is set`, `remove ${path}`);
  }
  place.layer.set(to, written);
  warn(place, path, written, `is now called ${to}`, `rename it to ${to}`);
}

/** `http_timeouts: {read: 30s, ...}` becomes the flat names that the environment has anyway. */
function flattenTimeouts(place: Place): void {
  const written = place.layer.get("http_timeouts");
  if (!written) return;
  place.layer.delete("http_timeouts");
  if (typeof written.value !== "object" || written.value === null || Array.isArray(written.value)) {
    place.problems.push({
      path: "http_timeouts",
      value: showValue("http_timeouts", written.value),
      problem: `must be a mapping of ${HTTP_TIMEOUTS.join(", ")}`,
      remedy: "better: write read_timeout, write_timeout, handler_timeout, idle_timeout, shutdown_timeout",
      source: written.source,
    });
    return;
  }
  for (const [name, value] of Object.entries(written.value).slice(0, 20)) {
    const flat = `http_timeouts_${name}`;
    if (HTTP_TIMEOUTS.includes(name)) {
      const present = place.layer.get(flat);
      if (value !== null && !(present && present.rank > written.rank)) {
        place.layer.set(flat, { ...written, value });
      }
      continue;
    }
    const guess = nearest(name, HTTP_TIMEOUTS);
    place.problems.push({
      path: "http_timeouts." + name.slice(0, 64),
      problem: "is not a known key",
      remedy: guess ? `did you mean http_timeouts.${guess}?` : `known are ${HTTP_TIMEOUTS.join(", ")}`,
      source: written.source,
    });
  }
}

/**
 * True where the first GoMail's api_endpoint means GoMail's own API, which it then delivered to itself: whatever
 * the path where our own listener answers, else by the API's paths (a proxy in front of us, or our name).
 * A loopback URL on another port is somebody else's application.
 */
function isOwnEndpoint(url: URL, layer: Layer): boolean {
  const written = (name: string) => String(layer.get(name)?.value ?? "").toLowerCase();
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const hereNames = ["localhost", "127.0.0.1", "::1", "0.0.0.0", "::"];
  const listens = written("listen_address") || "127.0.0.1";
  const ownPort = written("port") || "3000";
  const isHere = host === listens || (hereNames.includes(host) && hereNames.includes(listens));
  if (isHere && (url.port || (url.protocol === "http:" ? "80" : "443")) === ownPort) return true;
  const domain = written("infra_domain") || written("primary_domain");
  const ownNames = [...hereNames, listens, written("mail_hostname") || `mail.${domain}`];
  // Without a port the URL means a proxy in front of us, on this host or under our name.
  return ownNames.includes(host) && ["", "80", "443", ownPort].includes(url.port) &&
    /^\/(?:mail\/inbound|email)\/?$/.test(url.pathname);
}

/**
 * `api_endpoint` was where Postfix's pipe delivered to, and by default that was GoMail's own API: as a
 * webhook it would send every mail back in, for ever.
 */
function replaceApiEndpoint(place: Place): void {
  const written = place.layer.get("api_endpoint");
  if (!written) return;
  place.layer.delete("api_endpoint");
  const url = parseHttpUrl(String(written.value));
  if (url && isOwnEndpoint(url, place.layer)) {
    const problem = "is ignored: it points at GoMail itself, where mail now arrives without it";
    return warn(
      place,
      "api_endpoint",
      written,
      problem,
      "remove it, and name your application in webhook_url",
    );
  }
  const before = place.layer.get("webhook_url");
  moveTo(place, "api_endpoint", written, "webhook_url");
  const isTaken = place.layer.get("webhook_url") !== before;
  if (!isTaken || !url || !isPrivateHost(url.hostname) || place.layer.has("webhook_allow_private")) return;
  // The first GoMail had no guard: without this a file that worked would deliver nothing.
  place.layer.set("webhook_allow_private", { ...written, value: true });
  const problem = "is a private address, so that webhook_allow_private is taken as true";
  warn(place, "api_endpoint", written, problem, "set webhook_allow_private: true");
}

/** `debug_mode` was a second log level. */
function replaceDebugMode(place: Place): void {
  const written = place.layer.get("debug_mode");
  if (!written) return;
  place.layer.delete("debug_mode");
  const isOn = written.value === true || /^(?:true|1|yes|on)$/i.test(String(written.value));
  const level = place.layer.get("log_level");
  if (isOn && !(level && level.rank >= written.rank)) {
    place.layer.set("log_level", { ...written, value: "debug" });
    return warn(place, "debug_mode", written, "is now log_level: debug", "set log_level: debug");
  }
  warn(place, "debug_mode", written, "has no effect any more: log_level does it", "remove it");
}

/** Values of kept keys that only the first GoMail had. */
function replaceValues(place: Place): void {
  const mode = place.layer.get("mode");
  if (mode && OLD_MODES.includes(String(mode.value))) {
    place.layer.set("mode", { ...mode, value: "simple" });
    warn(place, "mode", mode, "is taken as simple: there is one way to run", "set mode: simple");
  }
  const version = place.layer.get("tls_min_version");
  if (version && /^1(?:\.[01])?$/.test(String(version.value))) {
    place.layer.set("tls_min_version", { ...version, value: "1.2" });
    const problem = "is taken as 1.2: older versions are never offered (RFC 8996)";
    warn(place, "tls_min_version", version, problem, 'set tls_min_version: "1.2"');
  }
}

/** 0 is taken as the default; looked at last, because it may have been moved from an older name. */
function replaceZeros(place: Place): void {
  for (const name of ZEROS) {
    const written = place.layer.get(name);
    const value = written?.value;
    if (!written || (typeof value !== "number" && typeof value !== "string")) continue;
    if (parseDuration(value) !== 0) continue;
    place.layer.delete(name);
    const problem = `is taken as the default, ${defaultsAsWritten().get(name)}: there is no 0 of it any more`;
    warn(place, name, written, problem, "remove it, or write another value");
  }
}

/** A key that isn't there, at a path that nobody wrote, is no key; any other path is meant, and checked. */
function replaceDkimKeyPath(place: Place, isMissing: (path: string) => boolean): void {
  const written = place.layer.get("dkim_private_key_path");
  if (written?.value !== OLD_DKIM_KEY_PATH || !isMissing(OLD_DKIM_KEY_PATH)) return;
  place.layer.delete("dkim_private_key_path");
  const problem = "is taken as not set: it is the first GoMail's default, and no such file is there";
  warn(place, "dkim_private_key_path", written, problem, "remove it; `gomail dkim generate` makes keys");
}

/**
 * Replaces what the first GoMail's files have. `merged` is all layers as one, and stays as it is. `isMissing` is
 * true of a file that is known not to be there.
 */
export function replaceLegacy(merged: Layer, isMissing: (path: string) => boolean): LegacyResult {
  const place: Place = { layer: new Map(merged), warnings: [], problems: [] };
  flattenTimeouts(place);
  replaceApiEndpoint(place);
  replaceDebugMode(place);
  replaceValues(place);
  for (const [name, written] of [...place.layer]) {
    const to = MOVED.get(name);
    // "No limit" is the absence of retention_bytes; 0 there would be a mistake.
    const isNoLimit = name === "max_storage_size" && parseSize(String(written.value)) === 0;
    const gone = isNoLimit ? "without retention_bytes there is no limit" : GONE.get(name);
    if (gone === undefined && to === undefined) continue;
    place.layer.delete(name);
    const path = name.replace(/^http_timeouts_/, "http_timeouts.");
    if (gone !== undefined) warn(place, path, written, `has no effect any more: ${gone}`, "remove it");
    else moveTo(place, path, written, to!);
  }
  replaceZeros(place);
  replaceDkimKeyPath(place, isMissing);
  return place;
}
