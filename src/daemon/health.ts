/**
 * What /health says. Ready means that a mail would be kept and every promise held: the store takes writes and
 * we are not on our way out. Trouble that time or somebody else's repair ends (a dead receiver or name server, a
 * busy port, a certificate without its key, little disk) only degrades: taking us out of service for it would help
 * nobody.
 */

import type { Clock } from "../base/clock.ts";
import type { QueueStatus } from "../delivery/worker.ts";

export interface HealthReport {
  status: "healthy" | "degraded" | "unhealthy";
  ready: boolean;
  checks: Record<string, Check>;
}

interface Check {
  status: "ok" | "degraded" | "failed";
  detail?: string | undefined;
}

export interface HealthSources {
  clock: Clock;
  /** Rejects when the store can't take mail. */
  probeStore: () => Promise<void>;
  freeBytes: () => Promise<number>;
  diskReserveBytes: () => number;
  queue: () => QueueStatus;
  /** What is wrong with the SMTP listeners, one sentence each. */
  smtpProblems: () => string[];
  /** Why the certificate that is configured is not in use; null when it is. Apart: no port is shut for it. */
  tlsProblem: () => string | null;
  /** True when the name servers don't answer. */
  dnsInTrouble: () => boolean;
  controlUp: () => boolean;
  /** All outgoing mail goes through one host. */
  hasSmarthost: () => boolean;
  draining: () => boolean;
}

/** Probes write to disk; a monitoring system that asks every second must not become a load. */
const REPORT_KEPT_MS = 1000;
const PROBE_MS_MAX = 5000;

async function withDeadline<T>(clock: Clock, work: Promise<T>): Promise<T> {
  let cancel = () => {};
  const late = new Promise<never>((_, reject) => {
    const timer = clock.timer(PROBE_MS_MAX, () => reject(new Error("no answer in time")));
    cancel = () => timer.cancel();
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    cancel();
  }
}

async function checkStore(sources: HealthSources): Promise<Check> {
  try {
    await withDeadline(sources.clock, sources.probeStore());
    return { status: "ok" };
  } catch {
    // The reason is in the log, where the store put it; a stranger may read this answer.
    return { status: "failed", detail: "the store does not take writes" };
  }
}

async function checkDisk(sources: HealthSources): Promise<Check> {
  try {
    const free = await withDeadline(sources.clock, sources.freeBytes());
    const isLow = free < sources.diskReserveBytes();
    return isLow
      ? { status: "degraded", detail: "less than disk_reserve is free: new mail gets 452" }
      : { status: "ok" };
  } catch {
    return { status: "degraded", detail: "free space is not known" };
  }
}

function checkQueue(status: QueueStatus): Check {
  if (!status.running) return { status: "degraded", detail: "delivery is stopped" };
  const receivers = status.paused.filter((paused) => paused.carrier === "webhook");
  if (receivers.length === 0) return { status: "ok" };
  const lanes = receivers.flatMap((paused) => paused.lanes).slice(0, 5).join(", ");
  return { status: "degraded", detail: `receiver in trouble, deliveries wait: ${lanes}` };
}

/** Somebody else's mail server that is down is no trouble of ours; the one that all our mail goes through is. */
function checkOutbound(status: QueueStatus, hasSmarthost: boolean): Check {
  const paused = status.paused.some(({ carrier }) => carrier === "smtp");
  if (!paused || !hasSmarthost) return { status: "ok" };
  return { status: "degraded", detail: "outbound_smarthost in trouble, outgoing mail waits" };
}

async function report(sources: HealthSources): Promise<HealthReport> {
  const [store, disk] = await Promise.all([checkStore(sources), checkDisk(sources)]);
  const problems = sources.smtpProblems();
  const tlsProblem = sources.tlsProblem();
  const checks: Record<string, Check> = {
    store,
    disk,
    control: sources.controlUp() ? { status: "ok" } : { status: "failed", detail: "control socket is down" },
    smtp: problems.length ? { status: "degraded", detail: problems.join("; ") } : { status: "ok" },
    tls: tlsProblem === null ? { status: "ok" } : { status: "degraded", detail: tlsProblem },
    dns: sources.dnsInTrouble()
      ? { status: "degraded", detail: "name servers don't answer: mail can't be verified" }
      : { status: "ok" },
    delivery: checkQueue(sources.queue()),
    outbound: checkOutbound(sources.queue(), sources.hasSmarthost()),
    lifecycle: sources.draining() ? { status: "failed", detail: "shutting down" } : { status: "ok" },
  };
  const all = Object.values(checks);
  const failed = all.some((check) => check.status === "failed");
  const degraded = all.some((check) => check.status === "degraded");
  return { status: failed ? "unhealthy" : degraded ? "degraded" : "healthy", ready: !failed, checks };
}

/** A function that gives the report, at most one second old. */
export function createHealth(sources: HealthSources): () => Promise<HealthReport> {
  let kept: { at: number; report: Promise<HealthReport> } | null = null;
  return () => {
    const now = sources.clock.monotonic();
    const isOld = !kept || now - kept.at > REPORT_KEPT_MS || sources.draining();
    if (isOld) kept = { at: now, report: report(sources) };
    return kept!.report;
  };
}
