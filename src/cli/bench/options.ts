/** What `gomail bench` was asked for: flags into a plan, with a word about each that can't be. */

import { formatDuration, formatSize, parseDuration, parseSize } from "../../config/notation.ts";
import { parseMailbox } from "../../mail/address.ts";
import { type Flag, type GivenFlags, isOn, numberOf, UsageError, valueOf } from "../command.ts";
import { CONTROL_FLAG, JSON_FLAG } from "../context.ts";
import { DEFAULT_SENDER } from "./mails.ts";
import { type Profile, PROFILE_NAMES, profileOf, PROFILES, shortened } from "./profiles.ts";
import { TLS_WISHES, type TlsWish } from "./tls_wish.ts";

export const BENCH_FLAGS: readonly Flag[] = [
  { name: "to", kind: "value", placeholder: "ADDRESS", summary: "whom all mails go to, at a domain of ours" },
  {
    name: "profile",
    kind: "value",
    placeholder: "P",
    summary: `a load with targets: ${
      PROFILES.filter((profile) => !profile.needsOwnReceiver).map(({ name }) => name).join(", ")
    }`,
  },
  { name: "rate", kind: "value", placeholder: "R", summary: "mails: 600/min or 10/s (default 60/min)" },
  { name: "duration", kind: "value", placeholder: "T", summary: "for how long (default 30s)" },
  { name: "connections", kind: "value", placeholder: "N", summary: "kept SMTP connections (default 5)" },
  { name: "size", kind: "value", placeholder: "S", summary: "of each mail (default 4KB)" },
  { name: "from", kind: "value", placeholder: "ADDRESS", summary: `the sender (default ${DEFAULT_SENDER})` },
  {
    name: "tls",
    kind: "value",
    placeholder: "MODE",
    words: TLS_WISHES,
    summary: "STARTTLS: auto where it is offered (the default), require, verify the certificate as well, off",
  },
  { name: "report", kind: "value", placeholder: "FILE", summary: "writes an HTML report with plots" },
  { name: "force", kind: "switch", summary: "the report may replace a file" },
  {
    name: "yes",
    kind: "switch",
    summary: "also to a public address, or to a domain that may not be ours",
  },
  JSON_FLAG,
  CONTROL_FLAG,
];

export interface BenchPlan {
  tls: TlsWish;
  profile: Profile;
  /** It has targets, and a name that means something. */
  isProfile: boolean;
  isShortened: boolean;
  from: string;
  /** Null: nobody was named. */
  to: string | null;
  report: string | null;
}

const MAILS_MAX = 1_000_000;
const CONNECTIONS_MAX = 1000;
const SIZE_BYTES_MAX = 100 * 2 ** 20;
const SECONDS_MAX = 86_400;
const DEFAULTS = { perSecond: 1, seconds: 30, connections: 5, sizeBytes: 4096 };

function perSecondOf(text: string | undefined): number {
  if (text === undefined) return DEFAULTS.perSecond;
  const [, count, unit] = /^([1-9]\d{0,6})\/(s|min)$/.exec(text) ?? [];
  if (count === undefined) throw new UsageError("--rate must be a number of mails, such as 600/min or 10/s");
  return unit === "s" ? Number(count) : Number(count) / 60;
}

function secondsOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms === null || ms < 1000 || ms > SECONDS_MAX * 1000) {
    throw new UsageError("--duration must be from 1s to 24h, such as 30s or 10m");
  }
  return ms / 1000;
}

function sizeOf(text: string | undefined): number {
  const bytes = text === undefined ? DEFAULTS.sizeBytes : parseSize(text);
  if (bytes === null || bytes < 1 || bytes > SIZE_BYTES_MAX) {
    throw new UsageError("--size must be up to 100MB, such as 4KB");
  }
  return bytes;
}

function tlsOf(text: string): TlsWish {
  const wish = TLS_WISHES.find((one) => one === text);
  if (wish === undefined) throw new UsageError(`--tls must be one of: ${TLS_WISHES.join(", ")}`);
  return wish;
}

function mailboxOf(name: string, text: string): string {
  const mailbox = parseMailbox(text, { smtpUtf8: false });
  // A quoted local part may hold what a header line must not.
  if ("problem" in mailbox || !/^[\x21-\x7e]+$/.test(mailbox.address)) {
    throw new UsageError(`--${name} must be one address, such as inbox@example.com`);
  }
  return mailbox.address;
}

/** A profile as it is, or for as long as was asked; its rate and size are what it is about. */
function namedProfile(flags: GivenFlags, name: string): Profile {
  const profile = profileOf(name);
  if (!profile) throw new UsageError(`--profile must be one of: ${PROFILE_NAMES.join(", ")}`);
  if (profile.needsOwnReceiver) {
    throw new UsageError(`the profile ${name} needs a receiver of its own: only \`deno task load\` has it`);
  }
  for (const flag of ["rate", "size"]) {
    if (flags.has(flag)) throw new UsageError(`--${flag} is the profile's to say: leave out one of the two`);
  }
  return profile;
}

function freeProfile(flags: GivenFlags): Profile {
  const perSecond = perSecondOf(valueOf(flags, "rate"));
  const seconds = secondsOf(valueOf(flags, "duration")) ?? DEFAULTS.seconds;
  return {
    name: "",
    summary: "",
    mails: Math.max(1, Math.round(perSecond * seconds)),
    seconds,
    connections: DEFAULTS.connections,
    sizeBytes: sizeOf(valueOf(flags, "size")),
    targets: [],
  };
}

export function benchPlan(flags: GivenFlags): BenchPlan {
  const name = valueOf(flags, "profile");
  const whole = name === undefined ? freeProfile(flags) : namedProfile(flags, name);
  const seconds = secondsOf(valueOf(flags, "duration"));
  const timed = seconds === undefined || name === undefined ? whole : shortened(whole, seconds);
  const connections = numberOf(flags, "connections") ?? timed.connections;
  if (connections > CONNECTIONS_MAX) throw new UsageError(`--connections must be at most ${CONNECTIONS_MAX}`);
  if (timed.mails > MAILS_MAX) {
    throw new UsageError(`more than ${MAILS_MAX} mails: lower --rate or --duration`);
  }
  const report = valueOf(flags, "report") ?? null;
  if (report === null && isOn(flags, "force")) {
    throw new UsageError("--force is about --report, which is not given");
  }
  const to = valueOf(flags, "to");
  return {
    tls: tlsOf(valueOf(flags, "tls") ?? "auto"),
    // Never more connections than mails.
    profile: { ...timed, connections: Math.min(connections, timed.mails) },
    isProfile: name !== undefined,
    isShortened: timed.seconds !== whole.seconds,
    from: mailboxOf("from", valueOf(flags, "from") ?? DEFAULT_SENDER),
    to: to === undefined ? null : mailboxOf("to", to),
    report,
  };
}

/** `1000 mails of 4KB in 10m, 1000/min`: what is about to happen. */
export function planText({ mails, seconds, sizeBytes, connections }: Profile): string {
  const perMinute = seconds === 0 ? "all at once" : `in ${formatDuration(seconds * 1000)}, ` +
    `${Number((mails * 60 / seconds).toFixed(1))}/min`;
  return `${mails} ${mails === 1 ? "mail" : "mails"} of ${
    formatSize(sizeBytes)
  } ${perMinute}, over ${connections} ` +
    `${connections === 1 ? "connection" : "connections"}`;
}
