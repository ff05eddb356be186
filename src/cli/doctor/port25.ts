/**
 * Port 25, out and in. Many providers close it outwards until they are asked; that shows only by calling somebody,
 * so this calls nobody but those who expect it: the configured smarthost; the other mail hosts of our own primary
 * domain; or the host that --probe names. Inwards it can't be told from inside at all: a connection from here to our
 * own public address may never leave the host, and proves nothing; so what to type elsewhere is all there is to say.
 */

import { isPublic } from "../../base/address.ts";
import { type ListenAddress, parseListen } from "../../config/notation.ts";
import { isLoopbackHost } from "../../config/private_host.ts";
import { dnsFacts } from "../../outbound/dns_facts.ts";
import { ASK_MS_MAX, type Check, type Say, type Subject } from "./check.ts";
import { orUnknown } from "./hostname.ts";
import { overhear, type Talk } from "./port_holder.ts";

const TALK: Talk = { opening: "", isEnough: (heard) => heard.includes("\n"), closing: "QUIT\r\n" };
const HOSTS_MAX = 3;
const MAIL_PORT = 25;

type Heard = { kind: "greeted" } | { kind: "closed" | "silent" } | { kind: "other"; line: string };

/** `closed`: turned away at once. `silent`: nothing came, which is what a closed firewall looks like. */
async function call(place: ListenAddress, signal: AbortSignal): Promise<Heard> {
  const over = new AbortController();
  const abort = () => over.abort();
  const timer = setTimeout(abort, ASK_MS_MAX);
  signal.addEventListener("abort", abort, { once: true });
  try {
    const heard = await overhear(place, TALK, over.signal, ASK_MS_MAX);
    if (heard === null) return { kind: over.signal.aborted ? "silent" : "closed" };
    if (/^220[ -]/.test(heard)) return { kind: "greeted" };
    return heard === "" ? { kind: "silent" } : { kind: "other", line: heard.split("\r")[0]!.slice(0, 200) };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

function tell(
  heard: Heard,
  label: string,
  remedy: string,
  say: Say,
  level: "problem" | "notice" = "problem",
): void {
  const what = {
    closed: `${label} refuses the connection`,
    silent: `${label} says nothing`,
    other: `${label} is no mail server that greets us: ${heard.kind === "other" ? heard.line : ""}`,
    greeted: "",
  }[heard.kind];
  if (heard.kind === "greeted") say.ok("out", `${label} greets us`);
  else say[level]("out", what, remedy);
}

async function callSmarthost(subject: Subject, say: Say, signal: AbortSignal): Promise<void> {
  const { config, loaded } = subject;
  const label = `outbound_smarthost ${config.outbound_smarthost}`;
  const place = parseListen(config.outbound_smarthost);
  if (place === null) return say.skipped("out", `${label} is no address that can be called`);
  const isHere = "host" in place && isLoopbackHost(place.host);
  const remedy = isHere
    ? "`gomail postfix` prints how Postfix is set to take our mail; `systemctl status postfix`"
    : "correct outbound_smarthost, or have its firewall let us in";
  const found = await located(subject, place);
  if (!found) {
    return say.problem("out", `${label}: its name has no address now`, "correct outbound_smarthost");
  }
  // Nobody may have meant to send anything.
  const isDefault = (loaded.sources.get("outbound_smarthost") ?? "default") === "default";
  tell(await call(found, signal), label, remedy, say, isDefault ? "notice" : "problem");
}

/** With an address in place of the name; undefined when it has none. */
async function located({ resolver }: Subject, place: ListenAddress): Promise<ListenAddress | undefined> {
  if ("path" in place) return place;
  const [host] = await resolver.lookupHost(place.host).catch(() => []);
  return host === undefined ? undefined : { host, port: place.port };
}

/** Mail hosts of our domain that are not this host; of strangers' names private addresses are not called. */
async function otherMailHosts({ config, hostname, resolver }: Subject): Promise<string[]> {
  const dns = dnsFacts(resolver);
  if (config.primary_domain === undefined) return [];
  const own = new Set(await dns.addresses(hostname));
  const hosts = (await dns.mx(config.primary_domain)).map(({ exchange }) => exchange).filter(Boolean);
  const found: string[] = [];
  for (const host of hosts.slice(0, HOSTS_MAX)) {
    const addresses = await dns.addresses(host);
    if (!addresses.some((address) => own.has(address))) found.push(...addresses.filter(isPublic).slice(0, 1));
  }
  return found;
}

const BLOCKED = "many providers close port 25 until they are asked: ask yours, or send through a smarthost " +
  "(outbound_smarthost)";

async function callMailHost(subject: Subject, say: Say, signal: AbortSignal): Promise<void> {
  const { wishes: { probe }, config } = subject;
  const [own] = probe === null ? await otherMailHosts(subject) : [];
  const label = probe ?? own;
  if (label === undefined) {
    const summary = "whether port 25 is open outwards can't be told without calling another mail host";
    return say.skipped("out", summary, "`gomail doctor --probe HOST` calls one that you name");
  }
  const wanted = parseListen(label) ?? { host: label, port: config.outbound_port };
  const place = await located(subject, wanted);
  if (!place) return say.unknown("out", `${label} has no address`, "name another host with --probe");
  const port = "port" in place ? place.port : MAIL_PORT;
  tell(await call(place, signal), `port ${port} of ${label.replace(/:\d+$/, "")}`, BLOCKED, say);
}

/** What a person types elsewhere. */
function tellInwards({ config, hostname }: Subject, say: Say): void {
  const from = `from another network: \`nc -vz ${hostname} ${MAIL_PORT}\``;
  const listens = config.smtp_listen.some((text) => {
    const place = parseListen(text);
    return place !== null && "port" in place && place.port === MAIL_PORT && !isLoopbackHost(place.host);
  });
  const summary = "whether port 25 is open from outside can't be told from here";
  const behind = listens ? "" : ", where a mail server in front has it";
  say.skipped("in", summary + behind, from);
}

export const port25Check: Check = {
  name: "port25",
  async run(subject, say, signal) {
    const { config, wishes } = subject;
    const isDirect = config.outbound_transport === "direct" || wishes.probe !== null;
    const work = isDirect ? callMailHost(subject, say, signal) : callSmarthost(subject, say, signal);
    await orUnknown("out", say, work);
    tellInwards(subject, say);
  },
};
