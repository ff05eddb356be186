/**
 * Every configured listener: is it ours, free, or somebody else's? The classic is port 25, held by the mail
 * server that came with the installation. Whether a place is free is found by taking it for a moment; who has it,
 * by talking to it.
 */

import { busyPortRemedy, forbiddenPortRemedy, mailServerOf } from "../../config/busy_port.ts";
import { type ListenAddress, mergeWildcards, parseListen } from "../../config/notation.ts";
import type { Config } from "../../config/schema.ts";
import { type Check, type Say, sideBySide, type Subject } from "./check.ts";
import { knockAt, overhear, programOn, type Talk } from "./port_holder.ts";

/** One listener, and how to know whether the program behind it is GoMail. */
interface Door {
  /** The key that asks for it. */
  key: string;
  /** As in the config. */
  label: string;
  place: ListenAddress;
  talk: Talk;
  isOurs: RegExp;
}

type TcpPlace = Extract<ListenAddress, { port: number }>;

const SMTP_TALK: Talk = { opening: "", isEnough: (heard) => heard.includes("\n"), closing: "QUIT\r\n" };
const SMTP_OURS = /^220[ -]\S+ (?:ESMTP|LMTP) GoMail\b/;

function httpTalk(path: string, isOurs: RegExp): Talk {
  const opening = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`;
  return { opening, isEnough: (heard) => isOurs.test(heard), closing: "" };
}

function httpDoor(key: string, host: string, port: number, path: string, isOurs: RegExp): Door {
  const label = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  return { key, label, place: { host, port }, talk: httpTalk(path, isOurs), isOurs };
}

function doorsOf(config: Config): Door[] {
  const doors = [
    httpDoor("port", config.listen_address, config.port, "/health/live", /\{"status":"alive"\}/),
  ];
  if (config.metrics_enabled) {
    const { metrics_listen_address: host, metrics_port: port, metrics_path: path } = config;
    doors.push(httpDoor("metrics_port", host, port, path, /^gomail_build_info/m));
  }
  for (const key of ["smtp_listen", "proxy_listen", "lmtp_listen"] as const) {
    for (const label of mergeWildcards(config[key])) {
      const place = parseListen(label);
      if (place !== null) doors.push({ key, label, place, talk: SMTP_TALK, isOurs: SMTP_OURS });
    }
  }
  return doors;
}

type Free = "free" | "taken" | "forbidden" | "elsewhere";

/** Takes the place and gives it back at once. */
export function tryPlace({ host, port }: TcpPlace): Free {
  try {
    Deno.listen({ hostname: host, port }).close();
    return "free";
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return "taken";
    if (error instanceof Deno.errors.PermissionDenied) return "forbidden";
    // A host without IPv6: the daemon takes IPv4 alone then.
    return host === "::" ? tryPlace({ host: "0.0.0.0", port }) : "elsewhere";
  }
}

/** The daemon removes sockets that nobody listens on, and nothing else. */
async function isInTheWay(path: string): Promise<boolean> {
  // Not there, or not for us to see: then talking to it tells more.
  const info = await Deno.lstat(path).catch(() => null);
  return info !== null && !info.isSocket;
}

/** What the program at the door says; null when nobody opens. */
async function hear({ place, talk }: Door, signal: AbortSignal): Promise<string | null> {
  if ("path" in place) return await overhear(place, talk, signal);
  for (const host of knockAt(place.host)) {
    const heard = await overhear({ host, port: place.port }, talk, signal);
    if (heard !== null) return heard;
  }
  return null;
}

/** Nobody has it. That is as it should be, but for a daemon that runs and should have it. */
async function sayFree(
  door: Door,
  why: Free,
  { daemon, configFile, upkeep }: Subject,
  say: Say,
): Promise<void> {
  const { key, label, place } = door;
  const { health } = await daemon;
  if (health === null) return say.ok(key, `${key} ${label} is free`);
  const isForbidden = why === "forbidden" || health.checks.smtp?.detail.includes(`${label}: no permission`);
  const remedy = isForbidden && "port" in place && key.endsWith("_listen")
    ? forbiddenPortRemedy(place.port, key, upkeep)
    : `${upkeep.restart}; the daemon may have been started with another config than ${configFile}`;
  say.problem(key, `${key} ${label} is free: the daemon runs, and does not listen there`, remedy);
}

/** systemd opens the sockets itself, and hands them over when the daemon starts. */
const isSystemd = (program: string | null) => /(?:^|\/)systemd$/.test(program ?? "");

async function sayTaken(
  door: Door,
  heard: string,
  subject: Subject,
  say: Say,
  signal: AbortSignal,
): Promise<void> {
  const { key, label, place } = door;
  const program = "port" in place ? await programOn(place.port, signal) : null;
  if (subject.config.mode === "socket" && isSystemd(program)) {
    return say.ok(key, `${key} ${label}: systemd holds it for GoMail`);
  }
  const server = mailServerOf(program ?? "") ?? mailServerOf(heard.split("\n")[0]!);
  const holder = server?.name ?? program?.replace(/.*\//, "") ?? "another program";
  const remedy = "path" in place
    ? `\`ss -lxp | grep -F ${place.path}\` names it: stop it, or change ${key}`
    : busyPortRemedy(place.port, key, subject.upkeep, server);
  const isSocket = subject.config.mode === "socket" && key === "smtp_listen";
  const again = isSocket ? subject.upkeep.thenSocket : "";
  say.problem(key, `${key} ${label} is held by ${holder}`, remedy + again);
}

async function checkDoor(door: Door, subject: Subject, say: Say, signal: AbortSignal): Promise<void> {
  const { key, label, place } = door;
  if ("port" in place && place.port === 0) return say.skipped(key, `${key} ${label} takes a free port`);
  if ("path" in place && await isInTheWay(place.path)) {
    const remedy = `\`ls -l ${place.path}\`; move it away, or change ${key} in ${subject.configFile}`;
    return say.problem(key, `${key} ${label} is taken by a file that is no socket`, remedy);
  }
  const state = "port" in place ? tryPlace(place) : "forbidden";
  if (state === "free") return await sayFree(door, state, subject, say);
  if (state === "elsewhere") {
    const remedy = `\`ip -br address\` lists those it has; correct ${key} in ${subject.configFile}`;
    return say.problem(key, `${key} ${label} is not an address of this host`, remedy);
  }
  const heard = await hear(door, signal);
  if (heard === null && state === "forbidden") return await sayFree(door, state, subject, say);
  const { health } = await subject.daemon;
  const isRefused = health?.checks.smtp?.detail.includes(`Cannot listen on ${label}:`) ?? false;
  if (door.isOurs.test(heard ?? "") && !isRefused) return say.ok(key, `${key} ${label}: GoMail listens`);
  await sayTaken(door, heard ?? "", subject, say, signal);
}

export const portsCheck: Check = {
  name: "ports",
  async run(subject, say, signal) {
    // Side by side, since a silent program costs time.
    await sideBySide(doorsOf(subject.config), say, (door, say) => checkDoor(door, subject, say, signal));
  },
};
