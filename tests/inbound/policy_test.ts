/**
 * The whole enforcement table against tests/golden/inbound/policy.txt, which is meant to be read. After a
 * deliberate change of policy: `GOLDEN_UPDATE=1 deno test -A tests/inbound/policy_test.ts`, then review the diff.
 */

import { assertEquals } from "@std/assert";
import type { AuthenticationOutcome } from "../../src/inbound/auth_types.ts";
import { decide } from "../../src/inbound/policy.ts";
import type { DmarcResult, SpfResult } from "../../src/mail/types.ts";
import { test } from "../support/test.ts";

const GOLDEN = new URL("../golden/inbound/policy.txt", import.meta.url);
const SPF_ENFORCEMENT = ["none", "soft", "strict"] as const;
const DMARC_ENFORCEMENT = ["none", "relaxed", "strict"] as const;

interface Case {
  what: string;
  spf: SpfResult;
  dmarc: DmarcResult;
  policy: string | null;
  outcome?: Partial<AuthenticationOutcome>;
}

const CASES: Case[] = [
  { what: "all pass", spf: "pass", dmarc: "pass", policy: "reject" },
  { what: "nothing published", spf: "none", dmarc: "none", policy: null },
  { what: "spf fail, no dmarc", spf: "fail", dmarc: "none", policy: null },
  { what: "spf fail, dmarc pass", spf: "fail", dmarc: "pass", policy: "reject" },
  { what: "spf softfail", spf: "softfail", dmarc: "none", policy: null },
  { what: "spf temperror", spf: "temperror", dmarc: "none", policy: null },
  { what: "spf permerror", spf: "permerror", dmarc: "none", policy: null },
  { what: "dmarc fail, p=reject", spf: "fail", dmarc: "fail", policy: "reject" },
  { what: "dmarc fail, p=quarantine", spf: "pass", dmarc: "fail", policy: "quarantine" },
  { what: "dmarc fail, p=none", spf: "pass", dmarc: "fail", policy: "none" },
  { what: "dmarc temperror, policy unknown", spf: "temperror", dmarc: "temperror", policy: null },
  { what: "dmarc temperror, p=reject", spf: "pass", dmarc: "temperror", policy: "reject" },
  { what: "dmarc temperror, p=none", spf: "pass", dmarc: "temperror", policy: "none" },
  { what: "spf fail, dmarc temperror", spf: "fail", dmarc: "temperror", policy: "reject" },
  {
    what: "dmarc fail, arc vouches",
    spf: "fail",
    dmarc: "fail",
    policy: "reject",
    outcome: { arcVouches: true },
  },
  {
    what: "from repeated",
    spf: "pass",
    dmarc: "permerror",
    policy: null,
    outcome: { fromProblem: "repeated" },
  },
];

function outcomeOf({ spf, dmarc, policy, outcome }: Case): AuthenticationOutcome {
  return {
    authentication: {
      spf: { result: spf, client_ip: null, mail_from: "", helo_domain: null, received_spf_header: null },
      dkim: { result: "none", signatures: [], from_domain: null, signed_by: [] },
      dmarc: {
        result: dmarc,
        policy,
        from_header: null,
        return_path: "",
        spf_alignment: false,
        dkim_alignment: false,
        authentication_results: "",
      },
      arc: { result: "none", chain: [] },
    },
    fromProblem: null,
    arcVouches: false,
    ...outcome,
  };
}

function answers(
  c: Case,
  spf: typeof SPF_ENFORCEMENT[number],
  dmarc: typeof DMARC_ENFORCEMENT[number],
): string {
  const config = { spf_enforcement: spf, dmarc_enforcement: dmarc };
  const say = (mayRefuse: boolean) => {
    const decision = decide(outcomeOf(c), config, mayRefuse);
    if (decision.kind === "refuse") {
      return `${decision.refusal.code} ${decision.refusal.enhanced} ${decision.refusal.reason}`;
    }
    return [decision.verdict, ...decision.reasons].join(" ");
  };
  return `${say(true).padEnd(36)}lmtp: ${say(false)}`;
}

/** One line for each pair of enforcements, or one for all where they agree. */
function block(c: Case): string[] {
  const rows = SPF_ENFORCEMENT.flatMap((spf) =>
    DMARC_ENFORCEMENT.map((dmarc) => ({
      under: `${`spf ${spf}`.padEnd(12)}${`dmarc ${dmarc}`.padEnd(16)}`,
      answer: answers(c, spf, dmarc),
    }))
  );
  const same = rows.every((row) => row.answer === rows[0]!.answer);
  const shown = same ? [{ under: "always".padEnd(28), answer: rows[0]!.answer }] : rows;
  return [c.what, ...shown.map((row) => `  ${row.under}${row.answer}`)];
}

const table = () => CASES.map((c) => block(c).join("\n")).join("\n\n") + "\n";

test("Each verdict under each enforcement is what the golden table says", async () => {
  if (Deno.env.get("GOLDEN_UPDATE") === "1") await Deno.writeTextFile(GOLDEN, table());
  assertEquals(table(), await Deno.readTextFile(GOLDEN));
});

test("Nothing is ever refused where a refusal would bounce to a forged sender", () => {
  for (const c of CASES) {
    for (const spf of SPF_ENFORCEMENT) {
      for (const dmarc of DMARC_ENFORCEMENT) {
        const decision = decide(outcomeOf(c), { spf_enforcement: spf, dmarc_enforcement: dmarc }, false);
        assertEquals(decision.kind, "take");
      }
    }
  }
});
