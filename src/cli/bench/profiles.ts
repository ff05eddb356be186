/**
 * The load profiles and what each is held to, as data: `gomail bench --profile`, `deno task load` and
 * packaging/doc/performance.md mean the same by a name. A target is a measure and the most, or the least, that it
 * may be.
 */

/** What can be judged; how it is read off a run is in verdicts.ts. */
export type Measure =
  | "lost"
  | "refused"
  | "rate_percent"
  | "accept_p99_ms"
  | "receiver_p99_ms"
  | "rss_growth_mb"
  | "rss_peak_mb"
  | "fd_growth";

export interface Target {
  measure: Measure;
  most?: number;
  least?: number;
}

export interface Profile {
  name: string;
  summary: string;
  /** All of them in `seconds`, evenly; with 0 seconds all at once. */
  mails: number;
  seconds: number;
  connections: number;
  sizeBytes: number;
  targets: readonly Target[];
  /** Needs a receiver of its own, so only `deno task load` has it. */
  needsOwnReceiver?: boolean;
}

const KB = 1024;
const MB = 1024 * KB;
/** Of each profile: an answer for every mail that was due, and nothing lost. */
const NOTHING_LOST: readonly Target[] = [{ measure: "lost", most: 0 }, { measure: "refused", most: 0 }];
const IN_TIME: readonly Target[] = [
  ...NOTHING_LOST,
  { measure: "rate_percent", least: 99 },
  { measure: "accept_p99_ms", most: 20 },
  { measure: "receiver_p99_ms", most: 500 },
];
/** What a stream to a receiver in trouble is held to: the sender notices nothing, and nothing is lost. */
export const TROUBLED_STREAM: readonly Target[] = [
  ...NOTHING_LOST,
  { measure: "rate_percent", least: 99 },
  { measure: "accept_p99_ms", most: 20 },
];

export const PROFILES: readonly Profile[] = [
  {
    name: "seed",
    summary: "1000 mails/min for 10 min",
    mails: 10_000,
    seconds: 600,
    connections: 10,
    sizeBytes: 4 * KB,
    targets: IN_TIME,
  },
  {
    name: "burst",
    summary: "ten times that for 1 min",
    mails: 10_000,
    seconds: 60,
    connections: 20,
    sizeBytes: 4 * KB,
    targets: [
      ...NOTHING_LOST,
      { measure: "rate_percent", least: 99 },
      { measure: "accept_p99_ms", most: 100 },
      { measure: "receiver_p99_ms", most: 2000 },
    ],
  },
  {
    name: "soak",
    summary: "1000 mails/min for 1 h; memory and file descriptors stay where they are",
    mails: 60_000,
    seconds: 3600,
    connections: 10,
    sizeBytes: 4 * KB,
    targets: [
      ...IN_TIME,
      { measure: "rss_growth_mb", most: 50 },
      { measure: "fd_growth", most: 20 },
    ],
  },
  {
    name: "big",
    summary: "ten mails of 24 MB at once",
    mails: 10,
    seconds: 0,
    connections: 10,
    sizeBytes: 24 * MB,
    targets: [...NOTHING_LOST, { measure: "rss_peak_mb", most: 400 }],
  },
  {
    name: "slow-receiver",
    summary: "600 mails/min for 2 min, beside a receiver that takes 5 s and one that never answers",
    mails: 1200,
    seconds: 120,
    connections: 10,
    sizeBytes: 4 * KB,
    targets: IN_TIME,
    needsOwnReceiver: true,
  },
];

export const PROFILE_NAMES = PROFILES.map((profile) => profile.name);

export function profileOf(name: string): Profile | undefined {
  return PROFILES.find((profile) => profile.name === name);
}

/** The same rate for so many seconds. What happens at once stays as it is. */
export function shortened(profile: Profile, seconds: number): Profile {
  if (profile.seconds === 0) return profile;
  const mails = Math.max(1, Math.round(profile.mails * seconds / profile.seconds));
  return { ...profile, seconds, mails };
}
