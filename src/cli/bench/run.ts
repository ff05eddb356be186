/**
 * `gomail bench` from its flags to its exit code. In this order, so that nothing is sent by mistake: what is meant,
 * what speaks against it, whether the server takes mail for the address at all, and only then the load. Ctrl-C ends
 * the load and shows what there is so far.
 */

import { systemClock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { newId } from "../../base/id.ts";
import { plainMessage } from "../../base/places.ts";
import { printable } from "../../base/printable.ts";
import { VERSION } from "../../base/version.ts";
import { load } from "../../config/load.ts";
import type { Config } from "../../config/schema.ts";
import { normalizeDomain } from "../../mail/address.ts";
import { CommandError, EXIT, type Invocation, isOn, UsageError } from "../command.ts";
import { loadInput, onDaemon } from "../context.ts";
import { listenForEnding } from "../ending.ts";
import { json } from "../format.ts";
import { reportHtml } from "./html.ts";
import { benchMails, HELO } from "./mails.ts";
import { type BenchPlan, benchPlan, planText } from "./options.ts";
import { Progress } from "./progress.ts";
import { asJson } from "./result_json.ts";
import { watchMetrics } from "./resources.ts";
import type { StreamResult } from "./result.ts";
import { SmtpClient } from "./smtp_client.ts";
import { runStream } from "./stream.ts";
import { doubts, ownTarget, resolveTarget, type Target } from "./target.ts";
import { resultText } from "./text.ts";
import { TLS_TEXTS, WITHOUT_TLS } from "./tls_wish.ts";
import { judge, type Verdict } from "./verdicts.ts";
import { QueueWhereabouts } from "./whereabouts.ts";

const WAIT_MS = 30_000;
const PREFLIGHT_TIMEOUT_MS = 10_000;
/** Our own name in an address, where nobody was named. */
const DEFAULT_LOCAL_PART = "gomail-bench";

const NO_IDS = "the server's replies name no id, so mails can't be told apart behind it";
const followsNothing = ({ measurement }: StreamResult) =>
  measurement.untracked > 0 && measurement.untracked === measurement.endings.accepted;

/** Everything that is decided before the first byte. */
interface Prepared {
  plan: BenchPlan;
  target: Target;
  to: string;
  runId: string;
  config: Config | null;
}

/** Our domains by configuration and daemon, or null when neither can be asked. */
async function ourDomains(invocation: Invocation, config: Config | null): Promise<string[] | null> {
  const names = config ? [config.primary_domain, ...config.additional_domains] : [];
  const configured = names.flatMap((name) => normalizeDomain(name ?? "") ?? []);
  try {
    const answer = await onDaemon(invocation, (client) => client.request("GET", "/v1/domains"));
    const items = (answer as { items?: { domain?: unknown }[] } | null)?.items ?? [];
    return [...configured, ...items.map(({ domain }) => String(domain))];
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return configured.length > 0 ? configured : null;
  }
}

async function prepare(invocation: Invocation): Promise<Prepared> {
  const { flags, args, io } = invocation;
  const plan = benchPlan(flags);
  const loaded = load(loadInput(invocation));
  const config = loaded.ok ? loaded.config : null;
  const targetText = args[0] ?? (config && ownTarget(config));
  if (!targetText) {
    throw new UsageError("where to? name HOST:PORT: no configuration says where SMTP is listened");
  }
  const primary = config?.primary_domain;
  const to = plan.to ?? (primary === undefined ? null : `${DEFAULT_LOCAL_PART}@${primary}`);
  if (to === null) {
    throw new UsageError("to whom? name --to ADDRESS: no configuration names a domain of ours");
  }
  const target = await resolveTarget(targetText);
  if (plan.tls === "verify" && target.name === null) {
    throw new UsageError(
      "--tls verify needs a host's name, which its certificate is for, and not an address",
    );
  }
  const domain = to.slice(to.lastIndexOf("@") + 1);
  const against = doubts(target, domain, await ourDomains(invocation, config));
  const runId = newId().toLowerCase();
  const what = `${planText(plan.profile)}, to ${to} at ${target.shown}`;
  if (against.length > 0 && !isOn(flags, "yes")) {
    throw new UsageError(`not without --yes: ${against.join("; ")} (${printable(what)})`);
  }
  io.err(`bench: ${printable(what)}; run ${runId}\n`);
  return { plan, target, to, runId, config };
}

/** Asks for one address and sends nothing: a wrong one would be a thousand refusals, and each may count for a ban. */
async function preflight({ plan, target, to }: Prepared): Promise<void> {
  const { tls } = plan;
  const client = await SmtpClient.open({
    ...target,
    tls,
    helo: HELO,
    replyTimeoutMs: PREFLIGHT_TIMEOUT_MS,
    clock: systemClock,
  });
  if (!(client instanceof SmtpClient)) {
    const remedy = client.isTls && tls !== "off" ? ` (${WITHOUT_TLS[tls]})` : "";
    throw new CommandError(`Cannot send to ${printable(target.shown)}: ${printable(client.text)}${remedy}`);
  }
  const reply = await client.ask(plan.from, to);
  await client.close();
  if (reply.code !== 250) {
    throw new CommandError(`Cannot send to ${printable(to)}: the server said ${printable(reply.text)}`);
  }
}

/** Its place is taken before the load, so that an hour's figures are not lost to a file that is there. */
function reserveReport(invocation: Invocation, path: string): void {
  try {
    invocation.io.writeFile(path, "", isOn(invocation.flags, "force"));
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists) {
      throw new UsageError(`${printable(path)} is there already: --force replaces it`);
    }
    throw new CommandError(
      `Cannot write ${printable(path)}: ${error instanceof Error ? plainMessage(error) : messageOf(error)}`,
    );
  }
}

async function send(invocation: Invocation, prepared: Prepared): Promise<StreamResult> {
  const { plan, target, to, runId, config } = prepared;
  const { profile, from } = plan;
  const whereabouts = new QueueWhereabouts((use) => onDaemon(invocation, use), systemClock);
  const progress = new Progress(invocation.io, profile, systemClock);
  const over = new AbortController();
  const ending = listenForEnding();
  ending.come.then(() => over.abort());
  // Of another host the metrics here say nothing.
  const watched = config && !target.isPublic ? watchMetrics(config, systemClock) : null;
  try {
    const result = await runStream({
      ...profile,
      name: "",
      target,
      tls: plan.tls,
      helo: HELO,
      mail: benchMails({ from, to, sizeBytes: profile.sizeBytes, runId }),
      source: whereabouts,
      waitMs: WAIT_MS,
    }, {
      clock: systemClock,
      signal: over.signal,
      begin: (measurement) => progress.begin(measurement),
      resources: () => whereabouts.problem === null ? watched?.end() ?? null : null,
    });
    const notMeasured = whereabouts.problem ?? (followsNothing(result) ? NO_IDS : null);
    return notMeasured === null ? result : { ...result, remaining: null, notMeasured };
  } finally {
    watched?.end();
    progress.end();
    ending.release();
  }
}

function facts(prepared: Prepared): [string, string][] {
  const { plan, target, to, runId, config } = prepared;
  const settings = config === null ? "not read" : [
    `spf_enforcement ${config.spf_enforcement}`,
    `dmarc_enforcement ${config.dmarc_enforcement}`,
    `webhook_concurrency ${config.webhook_concurrency}`,
    `max_connections_per_ip ${config.max_connections_per_ip}`,
  ].join(", ");
  return [
    ...(plan.isProfile
      ? [["profile", `${plan.profile.name}: ${plan.profile.summary}`]] as [string, string][]
      : []),
    ["load", planText(plan.profile)],
    ["target", `${target.shown} (${target.host}, port ${target.port})`],
    ["recipient", to],
    ["STARTTLS", TLS_TEXTS[plan.tls]],
    ["run", runId],
    ["when", new Date(systemClock.now()).toISOString()],
    [
      "generator's machine",
      `${navigator.hardwareConcurrency} processors, ${Deno.build.os} ${Deno.build.arch}`,
    ],
    ["generator's versions", `GoMail ${VERSION}, Deno ${Deno.version.deno}, V8 ${Deno.version.v8}`],
    ["configuration", settings],
  ];
}

/** Failed: a target missed, or mail lost; where targets were to be judged, an early end as well. */
function exitCode(result: StreamResult, verdicts: readonly Verdict[], plan: BenchPlan): number {
  const isMissed = verdicts.some((verdict) => verdict.isKept === false);
  const isLost = (result.remaining?.lost ?? 0) > 0;
  const isCut = result.stopped !== null && (plan.isProfile || result.stopped !== "interrupted");
  return isMissed || isLost || isCut || result.measurement.endings.accepted === 0 ? EXIT.failed : EXIT.ok;
}

export async function runBench(invocation: Invocation): Promise<number> {
  const { io, flags } = invocation;
  const prepared = await prepare(invocation);
  const { plan } = prepared;
  await preflight(prepared);
  if (plan.report !== null) reserveReport(invocation, plan.report);
  const result = await send(invocation, prepared);
  // A run that was cut short says nothing about a rate that it was to hold.
  const verdicts = result.stopped === null ? judge(result, plan.profile.targets, plan.profile.seconds) : [];
  const shown = facts(prepared);
  const notes = [
    ...(plan.isShortened ? [`Shortened to ${plan.profile.seconds} seconds.`] : []),
    ...(result.stopped === null ? [] : [`Ended early: ${result.stopped}. Targets are not judged.`]),
  ];
  if (plan.report !== null) {
    const title = `gomail bench${plan.isProfile ? ` --profile ${plan.profile.name}` : ""}`;
    io.writeFile(plan.report, reportHtml({ title, facts: shown, notes, results: [result], verdicts }), true);
    io.err(`report: ${printable(plan.report)}\n`);
  }
  if (isOn(flags, "json")) io.out(json(asJson(result, verdicts, shown, notes)));
  else io.out(notes.map((note) => `${printable(note)}\n`).join("") + resultText([result], verdicts));
  return exitCode(result, verdicts, plan);
}
