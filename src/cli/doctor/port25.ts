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
import { oneOfEach, overhear, type Talk } from "./port_holder.ts";

const TALK: Talk = { opening: "", isEnough: (heard) => heard.includes("\n"), closing: "QUIT\r\n" };
const HOSTS_MAX = 3;
const MAIL_PORT = 25;

/** From the best to the worst: of several addresses the best is told. */
const KINDS = ["greeted", "other", "open", "silent", "closed"] as const;

/**
 * `open`: connected, and no greeting so far, which many hold back from strangers on purpose. `silent`: no connection
 * came about, which is what a closed firewall looks like. `closed`: turned away at once, or no way there.
 */
interface Heard {
  kind: (typeof KINDS)[number];
  line: string;
}

async function callOne(place: ListenAddress, signal: AbortSignal): Promise<Heard> {
  const over = new AbortController();
  const abort = () => over.abort();
  const timer = setTimeout(abort, ASK_MS_MAX);
  signal.addEventListener("abort", abort, { once: true });
  try {
    const heard = await overhear(place, TALK, over.signal, ASK_MS_MAX);
    if (heard === null) return { kind: over.signal.aborted ? "silent" : "closed", line: "" };
    const kind = /^220[ -]/.test(heard) ? "greeted" : heard === "" ? "open" : "other";
    return { kind, line: heard.split("\r")[0]!.slice(0, 200) };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }
}

/** All at once: a host with IPv6 alone has no way to the other's IPv4 address, which says nothing about port 25. */
async function call(places: readonly ListenAddress[], signal: AbortSignal): Promise<Heard> {
  const heard = await Promise.all(places.map((place) => callOne(place, signal)));
  return KINDS.flatMap((wanted) => heard.filter(({ kind }) => kind === wanted))[0]!;
}

const CLOSED = { silent: "does not answer", closed: "refuses the connection" } as const;

async function callSmarthost(subject: Subject, say: Say, signal: AbortSignal): Promise<void> {
  const { config, loaded, upkeep } = subject;
  const label = `outbound_smarthost ${config.outbound_smarthost}`;
  const place = parseListen(config.outbound_smarthost);
  if (place === null) return say.skipped("out", `${label} is no address that can be called`);
  const isHere = "host" in place && isLoopbackHost(place.host);
  const remedy = isHere
    ? `\`gomail postfix\` prints how Postfix is set to take our mail; ${upkeep.postfix}`
    : "correct outbound_smarthost, or have its firewall let us in";
  const found = await located(subject, place);
  if (found.length === 0) {
    return say.problem("out", `${label}: its name has no address now`, "correct outbound_smarthost");
  }
  const { kind, line } = await call(found, signal);
  if (kind === "greeted") return say.ok("out", `${label} greets us`);
  const what = kind === "other"
    ? `is no mail server that greets us: ${line}`
    : kind === "open"
    ? "says nothing"
    : CLOSED[kind];
  // Nobody may have meant to send anything.
  const isDefault = (loaded.sources.get("outbound_smarthost") ?? "default") === "default";
  say[isDefault ? "notice" : "problem"]("out", `${label} ${what}`, remedy);
}

/** With addresses in place of the name; empty when it has none. */
async function located({ resolver }: Subject, place: ListenAddress): Promise<ListenAddress[]> {
  if ("path" in place) return [place];
  const addresses = await resolver.lookupHost(place.host).catch(() => []);
  return oneOfEach(addresses).map((host) => ({ host, port: place.port }));
}

interface MailHost {
  label: string;
  port: number;
  places: ListenAddress[];
}

/** The first mail host of our domain that is not this host; of strangers' names private addresses are not called. */
async function otherMailHost({ config, hostname, resolver }: Subject): Promise<MailHost | null> {
  const dns = dnsFacts(resolver);
  if (config.primary_domain === undefined) return null;
  const own = new Set(await dns.addresses(hostname));
  const hosts = (await dns.mx(config.primary_domain)).map(({ exchange }) => exchange).filter(Boolean);
  const port = config.outbound_port;
  for (const label of hosts.slice(0, HOSTS_MAX)) {
    const addresses = await dns.addresses(label);
    const seen = oneOfEach(addresses.filter(isPublic));
    if (seen.length === 0 || addresses.some((address) => own.has(address))) continue;
    return { label, port, places: seen.map((host) => ({ host, port })) };
  }
  return null;
}

async function namedMailHost(subject: Subject, probe: string): Promise<MailHost> {
  const wanted = parseListen(probe) ?? { host: probe, port: subject.config.outbound_port };
  const port = "port" in wanted ? wanted.port : MAIL_PORT;
  return { label: probe.replace(/:\d+$/, ""), port, places: await located(subject, wanted) };
}

const BLOCKED = "many providers close port 25 until they are asked: ask yours, or send through a smarthost " +
  "(outbound_smarthost)";

async function callMailHost(subject: Subject, say: Say, signal: AbortSignal): Promise<void> {
  const { wishes: { probe } } = subject;
  const host = probe === null ? await otherMailHost(subject) : await namedMailHost(subject, probe);
  if (host === null) {
    const summary = "whether port 25 is open outwards can't be told without calling another mail host";
    return say.skipped("out", summary, "`gomail doctor --probe HOST` calls one that you name");
  }
  const { label, port, places } = host;
  if (places.length === 0) {
    return say.unknown("out", `${label} has no address`, "name another host with --probe");
  }
  const { kind, line } = await call(places, signal);
  const name = `port ${port} of ${label}`;
  if (kind === "greeted") return say.ok("out", `${name} greets us`);
  if (kind === "silent" || kind === "closed") return say.problem("out", `${name} ${CLOSED[kind]}`, BLOCKED);
  if (kind === "other") {
    // The way there is open; what it has against us is another matter.
    const why = "`gomail doctor --only hostname,blocklists` looks at what others hold against an address";
    return say.notice("out", `${name} is open, and does not greet us: ${line}`, why);
  }
  const summary = `${name} takes the connection, and does not greet us within ${ASK_MS_MAX / 1000} s`;
  say.unknown("out", summary, "some keep strangers waiting: name another host with --probe");
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
