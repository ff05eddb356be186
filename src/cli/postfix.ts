/**
 * `postfix`: prints the script that puts Postfix in front of GoMail, the one that takes it away again, or what
 * is different in a Postfix that stands there. It runs nothing and changes nothing: root reads the script, and
 * then pipes it to sh.
 */

import { printable } from "../base/printable.ts";
import { mailHostnameOf } from "../config/names.ts";
import type { Config } from "../config/schema.ts";
import { type Command, EXIT, type Invocation, isOn, UsageError, valueOf } from "./command.ts";
import { JSON_FLAG, mustLoad } from "./context.ts";
import { json } from "./format.ts";
import { check, type CheckResult, type Difference } from "./postfix/check.ts";
import { type KnownDomains, knownDomains } from "./postfix/domains.ts";
import { outletOf, type Way, yamlLines } from "./postfix/place.ts";
import { planOf } from "./postfix/plan.ts";
import { readPostconf } from "./postfix/postconf.ts";
import { type ScriptNotes, setupScript, undoScript } from "./postfix/script.ts";

/** All parameters of Postfix are some 100 KB. */
const INPUT_BYTES_MAX = 4 * 2 ** 20;
/** Linux passes no longer argument to a command. */
const DOMAINS_CHARS_MAX = 120_000;
const PIPE = "`(postconf -n; postconf -M) | gomail postfix --check`";

interface Choice {
  way: Way;
  port25: string;
  postscreen: boolean;
}

function choiceOf({ flags }: Invocation): Choice {
  if (isOn(flags, "check") && isOn(flags, "undo")) {
    throw new UsageError("--check and --undo are two commands");
  }
  if (isOn(flags, "json") && !isOn(flags, "check")) throw new UsageError("--json goes with --check");
  const port25 = valueOf(flags, "service") ?? "smtp";
  if (!/^[A-Za-z0-9.:[\]_-]+$/.test(port25)) {
    throw new UsageError("--service is a name in master.cf, such as smtp, 25 or 192.0.2.1:smtp");
  }
  return { way: isOn(flags, "lmtp") ? "lmtp" : "proxy", port25, postscreen: isOn(flags, "postscreen") };
}

/** How to call the command again for the same Postfix. */
function sameAgain({ way, port25, postscreen }: Choice, more: string): string {
  const flags = [way === "lmtp" && "--lmtp", postscreen && "--postscreen"].filter(Boolean);
  if (port25 !== "smtp") flags.push(`--service ${port25}`);
  return ["gomail postfix", more, ...flags].join(" ");
}

function domainNotes({ names, added }: KnownDomains): string {
  const configured = names.length - (added?.length ?? 0);
  return `Domains: ${configured} from the config` +
    (added === null
      ? "; the daemon could not be asked for those added to it."
      : `, ${added.length} added to the running daemon.`);
}

function setupNotes(choice: Choice, config: Config, domains: KnownDomains): ScriptNotes {
  const yaml = yamlLines(choice.way, config).map((line) => `  ${printable(line)}`);
  const outlet = outletOf(config, choice.port25);
  const how = choice.way === "proxy"
    ? "Before-queue filter: the sender hears GoMail's refusal. `--lmtp` is the way after the queue."
    : "After the queue by LMTP: nothing is refused for policy any more, it is marked `quarantine`.";
  return {
    head: [
      "Puts Postfix in front of GoMail. Read it, then pipe it to sh as root; running it again changes nothing.",
      "What is overwritten is kept in before-gomail, beside main.cf, for the undo.",
      how,
      domainNotes(domains),
      `Checked by \`(postconf -n; postconf -M) | ${sameAgain(choice, "--check")}\`, taken back by \`${
        sameAgain(choice, "--undo")
      }\`.`,
      ...(yaml.length === 0 ? [] : ["gomail.yaml needs, and GoMail a restart:", ...yaml]),
    ],
    tail: [
      "Left to you:",
      "- mydestination is for this host's own mail: none of our domains may stand there.",
      `- myhostname is how Postfix greets; it should be the name in the PTR record (${
        mailHostnameOf(config, "the host's")
      }).`,
      ...choice.way === "lmtp"
        ? [
          "- domains with a list of recipients: reject_unverified_recipient refuses the rest before the queue.",
        ]
        : [],
      ..."none" in outlet
        ? [`- no listener for GoMail's outgoing mail: ${outlet.none}.`]
        : ["- outgoing mail is encrypted only with smtp_tls_security_level = may, or better dane."],
    ],
  };
}

const UNDO_NOTES: ScriptNotes = {
  head: [
    "Takes back what `gomail postfix` set, for both ways. Read it, then pipe it to sh as root.",
    "Values from before come back out of before-gomail, where the setup kept them. Without that copy they can't",
    "be known, and Postfix's defaults take their place; so does what was changed in these parameters since.",
  ],
  tail: ["Left to you: smtp_listen in gomail.yaml, if GoMail is to have port 25 itself."],
};

function differenceText({ parameter, is, should, command }: Difference): string {
  return printable(parameter) + "\n" +
    `  is         ${is === null ? "(not set)" : printable(is) || "(empty)"}\n` +
    `  should be  ${printable(should) || "(empty)"}\n` +
    `  ->         ${printable(command)}\n`;
}

function summary({ checked, unchecked, differences }: CheckResult): string {
  const rest = unchecked === 0 ? "" : `; ${unchecked} in master.cf not checked`;
  return differences.length === 0
    ? `all ${checked} settings are as they should be${rest}\n`
    : `${differences.length} of ${checked} settings differ${rest}; \`postfix reload\` afterwards\n`;
}

async function runCheck({ io, flags }: Invocation, choice: Choice, config: Config): Promise<number> {
  const bytes = await io.readInput(INPUT_BYTES_MAX);
  if (bytes === null) throw new UsageError(`--check reads what postconf says: ${PIPE}`);
  if (bytes.length > INPUT_BYTES_MAX) throw new UsageError("--check reads what postconf says, not 4 MB");
  const postconf = readPostconf(new TextDecoder().decode(bytes));
  if (postconf.main.size === 0) {
    throw new UsageError(`--check found no line of \`postconf -n\` in its input: ${PIPE}`);
  }
  const domains = await askDomains(io, config);
  const result = check(planOf({ ...choice, config, domains: domains.names }), postconf);
  const code = result.differences.length === 0 ? EXIT.ok : EXIT.failed;
  const missing = yamlLines(choice.way, config);
  if (missing.length > 0) io.err(`note: gomail.yaml needs ${printable(missing.join(" and "))}\n`);
  if (isOn(flags, "json")) {
    const { names, added } = domains;
    io.out(json({ ok: code === EXIT.ok, way: choice.way, domains: { names, added }, ...result }));
    return code;
  }
  if (result.unchecked > 0) io.err(`note: for master.cf too: ${PIPE}\n`);
  io.out(result.differences.map(differenceText).join("") + summary(result));
  return code;
}

async function askDomains(io: Invocation["io"], config: Config): Promise<KnownDomains> {
  const domains = await knownDomains(config);
  if (domains.added === null) io.err(`note: only the config's domains: ${domains.problem}\n`);
  return domains;
}

async function run(invocation: Invocation): Promise<number> {
  const choice = choiceOf(invocation);
  const loaded = mustLoad(invocation);
  if (loaded === null) return EXIT.failed;
  const { io, flags } = invocation;
  const { config } = loaded;
  if (isOn(flags, "check")) return await runCheck(invocation, choice, config);
  if (isOn(flags, "undo")) {
    const plans = (["lmtp", "proxy"] as const).map((way) => planOf({ ...choice, way, config, domains: [] }));
    io.out(undoScript(plans, UNDO_NOTES));
    return EXIT.ok;
  }
  const domains = await askDomains(io, config);
  if (domains.names.join(", ").length > DOMAINS_CHARS_MAX) {
    io.err(
      "gomail: Cannot print relay_domains: so many domains belong into a table of Postfix (see postmap)\n",
    );
    return EXIT.failed;
  }
  io.out(
    setupScript(planOf({ ...choice, config, domains: domains.names }), setupNotes(choice, config, domains)),
  );
  return EXIT.ok;
}

export const postfixCommand: Command = {
  name: "postfix",
  summary: "Prints the commands that put Postfix in front, take it away, or say what differs",
  usage: "[--lmtp] [--postscreen] [--service NAME] [--check [--json]|--undo]",
  flags: [
    { name: "lmtp", kind: "switch", summary: "after the queue by LMTP, instead of before it as a filter" },
    {
      name: "check",
      kind: "switch",
      summary: "reads `postconf -n` and `postconf -M` from stdin: what differs?",
    },
    { name: "undo", kind: "switch", summary: "prints the commands that take it all out again" },
    { name: "postscreen", kind: "switch", summary: "postscreen has port 25, and hands on to smtpd" },
    {
      name: "service",
      kind: "value",
      placeholder: "NAME",
      summary: "what master.cf calls port 25, if not smtp",
    },
    JSON_FLAG,
  ],
  takesConfig: true,
  examples: [
    "postfix | sudo sh",
    "postfix --lmtp > postfix.sh",
    "postfix --undo | sudo sh",
    "postfix --check < postconf.txt",
  ],
  run,
};
