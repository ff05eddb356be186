/** Checks about webhooks and their routes: where mail would never arrive, or arrive in the clear. */

import type { Findings } from "./findings.ts";
import { formatDuration, parseHttpUrl } from "./notation.ts";
import { isLoopbackHost, isPrivateHost } from "./private_host.ts";
import type { Config } from "./schema.ts";

/** Outside these a webhook_timeout that somebody set is worth a word. */
const TIMEOUT_SHORT_MS = 1000;
const TIMEOUT_LONG_MS = 300_000;

/** One receiver's URL. `path` names the key it stands in. */
function checkUrl(path: string, text: string, isPrivateAllowed: boolean, found: Findings): void {
  const url = parseHttpUrl(text);
  if (url === null) return;
  if (url.username !== "" || url.password !== "") {
    const problem = "has a user or password in it, which would end up in logs";
    found.problem(path, text, problem, "use webhook_bearer_token, or the signature");
  }
  if (!isPrivateAllowed && isPrivateHost(url.hostname)) {
    const problem = "is a private or loopback address, where webhooks are refused";
    found.problem(path, text, problem, "set webhook_allow_private: true if the receiver is really there");
  }
  if (url.protocol === "http:" && !isLoopbackHost(url.hostname)) {
    found.warning(path, text, "is plain HTTP: mail goes to it in the clear", "use https://");
  }
}

/** `*` ends the search, and so does an equal match or the wildcard of the same domain above. */
function covers(earlier: string, later: string): boolean {
  if (earlier === "*" || earlier === later) return true;
  return earlier.startsWith("*@") && later.endsWith(earlier.slice(1));
}

/** A bounce goes only to a sender whom SPF or DMARC vouches for; DMARC without SPF needs DKIM. */
function canProveSenders({ spf_enabled: spf, dkim_enabled: dkim, dmarc_enabled: dmarc }: Config): boolean {
  return spf || dmarc && dkim;
}

/** Routes one by one, and each against those above it: the first match wins. */
function checkRoutes(config: Config, found: Findings): void {
  // A thousand routes make half a million pairs: still nothing next to reading them.
  config.routes.forEach((route, i) => {
    checkUrl(`routes[${i}].url`, route.url, config.webhook_allow_private, found);
    const above = config.routes.slice(0, i).findIndex((earlier) => covers(earlier.match, route.match));
    if (above >= 0) {
      const problem = `never matches: routes[${above}] (${config.routes[above]!.match}) comes first`;
      found.warning(`routes[${i}].match`, route.match, problem, "move it up, or remove it");
    }
    if (route.on_reject === "bounce" && !canProveSenders(config)) {
      const problem = "means drop: with these checks off no sender is proven, and only proven ones are told";
      found.warning(`routes[${i}].on_reject`, "bounce", problem, "set spf_enabled: true");
    }
  });
}

/** Everything about who is told of mail. */
export function checkWebhooks(config: Config, found: Findings): void {
  const { webhook_url: url, webhook_timeout: timeoutMs } = config;
  if (url === undefined && config.routes.length === 0) {
    const problem = "is not set: mail is stored, and nobody is told";
    found.warning("webhook_url", undefined, problem, "set webhook_url or routes");
  }
  const hasCatchAll = config.routes.some((route) => route.match === "*");
  if (url !== undefined && hasCatchAll) {
    found.warning(
      "webhook_url",
      url,
      "is never used: a route takes everything with *",
      "remove one of the two",
    );
  }
  if (url === undefined && config.routes.length > 0 && !hasCatchAll) {
    const problem =
      "have no * and there is no webhook_url: mail that matches none is stored, and nobody is told";
    found.warning("routes", config.routes, problem, "add a route * or webhook_url");
  }
  if (url !== undefined) checkUrl("webhook_url", url, config.webhook_allow_private, found);
  checkRoutes(config, found);
  const isSet = found.sourceOf("webhook_timeout") !== "default";
  if (isSet && (timeoutMs < TIMEOUT_SHORT_MS || timeoutMs > TIMEOUT_LONG_MS)) {
    const problem = timeoutMs < TIMEOUT_SHORT_MS
      ? "is short: a receiver that is a little busy gets everything twice"
      : "is long: one silent receiver holds its connections that long";
    found.warning("webhook_timeout", formatDuration(timeoutMs), problem, "use a value from 5s to 60s");
  }
  if (config.webhook_max_age < timeoutMs) {
    const problem = "is shorter than webhook_timeout: nothing is ever tried again";
    found.warning("webhook_max_age", formatDuration(config.webhook_max_age), problem, "use a day or more");
  }
  // Two equal secrets sign twice the same: the rotation would never be seen to end.
  const next = config.webhook_secret_next;
  if (next !== undefined && next === config.webhook_secret) {
    const problem = "is the same as webhook_secret";
    found.warning("webhook_secret_next", next, problem, "use a new secret, or remove it");
  }
  const remotes = [url, ...config.routes.map((route) => route.url)].map((text) => parseHttpUrl(text ?? ""));
  const hasRemote = remotes.some((remote) => remote !== null && !isLoopbackHost(remote.hostname));
  if (config.public_url === undefined && hasRemote) {
    const problem = "is not set: URLs of large mail and attachments point to an address of this host";
    found.warning("public_url", undefined, problem, "set it to where the receiver reaches the API");
  }
}
