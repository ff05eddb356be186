/**
 * Whether the receivers can be reached and verify signatures. Each gets a sample with a wrong signature, which it
 * must refuse: an answer in 4xx shows that it is there and that it verifies, and its app never sees the sample. A
 * receiver that takes it would take mail from anybody. Whether it takes what is signed rightly is known only from a
 * right sample, which the app will take for mail: so that one is sent with --webhook alone.
 *
 * The daemon sends both, through its one door (delivery/egress) with the bearer token and addresses that hold for
 * real webhooks. They are in no queue, and are not tried again.
 */

import type { Check, Say } from "./check.ts";
import { remedyFor } from "./health.ts";
import { SAMPLE_MS_MAX, type Sampled, sendSamples } from "./samples.ts";

/** Statuses that say nothing about a signature: there is no such page, or no time for us. */
const NO_SUCH = new Set([404, 405, 410]);
const NOT_NOW = new Set([408, 429]);
const TRY = "`gomail webhook test` sends a signed sample and shows the answer";

function tellWrong({ url, status, error, isLate }: Sampled, say: Say): void {
  if (isLate) {
    const summary = `${url} gave no answer within ${SAMPLE_MS_MAX / 1000} s: it is slow, or not reached`;
    return say.unknown("reachable", summary, `${TRY}, and waits for as long as webhook_timeout says`);
  }
  if (status === null) {
    const remedy = `the receiver, or a firewall: ${TRY}; \`gomail queue list\` shows what waits for it`;
    return say.problem("reachable", `${url} can't be reached: ${error ?? "no answer"}`, remedy);
  }
  if (status >= 200 && status < 300) {
    const summary = `${url} takes a sample with a wrong signature (${status}): anybody could send it mail`;
    return say.problem(
      "verifies",
      summary,
      "let the app verify webhook-signature (standardwebhooks.com) with `webhook_secret`",
    );
  }
  if (NO_SUCH.has(status)) {
    return say.problem(
      "reachable",
      `${url} answers ${status}: nobody takes webhooks there`,
      `correct its URL`,
    );
  }
  if (status >= 300 && status < 400) {
    const remedy = "name the URL that it leads to";
    return say.problem("reachable", `${url} answers ${status}: redirects are not followed`, remedy);
  }
  if (status >= 500) return say.problem("reachable", `${url} answers ${status}`, `the app's log; ${TRY}`);
  if (NOT_NOW.has(status)) {
    return say.unknown("verifies", `${url} answers ${status}, which says nothing of signatures`, TRY);
  }
  say.ok("verifies", `${url} refuses a sample with a wrong signature (${status})`);
}

function tellRight({ url, status, error }: Sampled, say: Say): void {
  if (status !== null && status >= 200 && status < 300) {
    return say.ok("takes", `${url} takes a signed sample (${status})`);
  }
  const remedy = status === null
    ? `the receiver, or a firewall: ${TRY}`
    : "give the app the secret that signs (`webhook_secret`, or <data_dir>/webhook_secret); the app's log says why";
  const what = status === null ? error ?? "no answer" : `it answers ${status}`;
  say.problem("takes", `${url} does not take a signed sample: ${what}`, remedy);
}

export const receiverCheck: Check = {
  name: "receiver",
  async run({ config, daemon, receivers, invocation, wishes, upkeep }, say, signal) {
    if (config.webhook_url === undefined && config.routes.length === 0) {
      return say.skipped("reachable", "there is no webhook_url and no route");
    }
    const answer = await daemon;
    if (answer.health === null) {
      const summary = "not asked: the daemon, which would send the sample, does not answer";
      return say.skipped("reachable", summary, remedyFor(answer, upkeep));
    }
    const right = wishes.webhook ? sendSamples(invocation, "right", signal) : null;
    const wrong = await receivers();
    if (wrong.items === null) say.unknown("reachable", wrong.reason, TRY);
    else for (const item of wrong.items) tellWrong(item, say);
    if (right === null) {
      const summary = "whether a right signature is taken is not asked: that would be mail to the app";
      return say.skipped("takes", summary, "`gomail doctor --webhook`");
    }
    const answered = await right;
    if (answered.items === null) say.unknown("takes", answered.reason, TRY);
    else for (const item of answered.items) tellRight(item, say);
  },
};
