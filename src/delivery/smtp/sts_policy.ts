/**
 * MTA-STS (RFC 8461) as text: the TXT record that says there is a policy (3.1), and the policy file (3.2). Both
 * come from strangers; what is not exactly right is no policy, as the RFC wants it.
 */

import type { StsPolicyRecord } from "../../store/types.ts";
import type { AnswerHead } from "../egress/mod.ts";

export type StsPolicy = Pick<StsPolicyRecord, "mode" | "mx"> & { maxAgeMs: number };

/** 3.2: 31557600 seconds, about a year. */
const MAX_AGE_SECONDS_MAX = 31_557_600;
/** More patterns than any domain has hosts. */
const PATTERNS_MAX = 100;
const LINES_MAX = 1_000;

/** The policy's id, by the TXT records of `_mta-sts.<domain>`; null unless exactly one is a valid one. */
export function stsIdOf(records: readonly string[]): string | null {
  const candidates = records.filter((record) => /^v=STSv1(?:[ \t]*;|$)/.test(record));
  if (candidates.length !== 1) return null;
  const fields = candidates[0]!.split(";").map((field) => field.trim());
  const ids = fields.flatMap((field) => /^id[ \t]*=[ \t]*([A-Za-z0-9]{1,32})$/.exec(field)?.[1] ?? []);
  return ids[0] ?? null;
}

/** Why an answer has no policy, or null (3.3): status 200 and nothing else, a redirect is none; text/plain. */
export function stsAnswerProblem({ status, headers }: AnswerHead): string | null {
  if (status !== 200) return `status ${status}`;
  const type = (headers["content-type"] ?? "").split(";")[0]!.trim().toLowerCase();
  return type === "text/plain" ? null : "not text/plain";
}

/** The policy, or why the text is none. Unknown fields are ignored, of a repeated one the first counts (3.2). */
export function parseStsPolicy(text: string): StsPolicy | string {
  const fields = new Map<string, string>();
  const mx: string[] = [];
  for (const line of text.split(/\r?\n/, LINES_MAX)) {
    const [, name = "", value = ""] = /^([A-Za-z0-9_.-]{1,32})[ \t]*:[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === "mx") {
      const pattern = value.toLowerCase().replace(/\.$/, "");
      if (!/^(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*$/.test(pattern)) return "an mx field is no host name";
      mx.push(pattern);
    } else if (name !== "" && !fields.has(name)) fields.set(name, value);
  }
  if (fields.get("version") !== "STSv1") return "its version is not STSv1";
  const mode = fields.get("mode");
  if (mode !== "enforce" && mode !== "testing" && mode !== "none") return "its mode is unknown";
  const age = fields.get("max_age") ?? "";
  if (!/^\d{1,10}$/.test(age)) return "its max_age is no number";
  if (mode !== "none" && mx.length === 0) return "it names no mx";
  if (mx.length > PATTERNS_MAX) return "it names too many hosts";
  return { mode, mx, maxAgeMs: Math.min(Number(age), MAX_AGE_SECONDS_MAX) * 1000 };
}

/** 4.1: a wildcard stands for exactly the leftmost label. */
export function stsMatches(patterns: readonly string[], host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, "");
  const rest = name.slice(name.indexOf(".") + 1);
  return patterns.some((pattern) =>
    pattern.startsWith("*.") ? rest !== name && pattern.slice(2) === rest : pattern === name
  );
}
