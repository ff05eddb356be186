/**
 * Answers that say no, all in one shape: `{"error", "message", "details"?, "request_id"}`. The types and their
 * status codes are the table in base/errors.ts; nothing else in this door knows a 4xx or 5xx number.
 */

import type { ZodError } from "zod";
import { HTTP_STATUS, type HttpErrorType, type Refusal } from "../../base/errors.ts";
import type { Problem } from "./types.ts";

/** What we ask of a client when the trouble is ours. */
const RETRY_AFTER_SECONDS = "30";
/** More problems than this tell nobody more. */
const PROBLEMS_MAX = 50;
const NAME_CHARS_SHOWN = 100;

/** A finding about one input: where, and what is wrong there. */
export interface Finding {
  path: string;
  problem: string;
}

export function problem(
  type: HttpErrorType,
  message: string,
  more: Pick<Problem, "details" | "headers"> = {},
): Problem {
  const headers = type === "service_unavailable"
    ? { "retry-after": RETRY_AFTER_SECONDS, ...more.headers }
    : more.headers;
  return { problem: type, message, details: more.details, headers };
}

/** Everything wrong with the input at once, each with its path; the first is also the message. */
export function invalid(findings: readonly Finding[]): Problem {
  const first = findings[0];
  const message = first
    ? `Cannot accept ${first.path || "the request"}: ${first.problem}`
    : "Cannot accept the request";
  return problem("validation_error", message, { details: { problems: findings.slice(0, PROBLEMS_MAX) } });
}

/** zod's issues as findings; `recipients.1` is written `recipients[1]`, and an unknown field is named itself. */
export function findingsOf(error: ZodError): Finding[] {
  return error.issues.flatMap((issue) => findingsOfIssue(issue, [])).slice(0, PROBLEMS_MAX);
}

type Issue = ZodError["issues"][number];

function findingsOfIssue(issue: Issue, above: readonly PropertyKey[]): Finding[] {
  const path = [...above, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      path: pathText([...path, key]),
      problem: "is not a known field",
    }));
  }
  // Of several shapes that would do, the one that was meant is the one that fits from outside.
  const meant = issue.code === "invalid_union" &&
    issue.errors.find((issues) => issues.length > 0 && issues.every((inner) => inner.path.length > 0));
  if (meant) return meant.flatMap((inner) => findingsOfIssue(inner as Issue, path));
  return [{ path: pathText(path), problem: issue.message }];
}

/** Names are the client's, and as long as it likes. */
function pathText(path: readonly PropertyKey[]): string {
  return path.map((part, i) =>
    typeof part === "number" ? `[${part}]` : `${i ? "." : ""}${String(part).slice(0, NAME_CHARS_SHOWN)}`
  ).join("");
}

/** A refusal of the flow in HTTP's terms: the SMTP code in the details, 503 with Retry-After when it is temporary. */
export function refused(refusal: Refusal, more: Record<string, unknown> = {}): Problem {
  return problem(refusal.http, refusal.text, {
    details: {
      smtp_code: refusal.code,
      enhanced_code: refusal.enhanced,
      reason: refusal.reason,
      ...more,
    },
  });
}

export function problemBody(problem: Problem, requestId: string): string {
  const { problem: error, message, details } = problem;
  return JSON.stringify({ error, message, details, request_id: requestId }) + "\n";
}

export function problemResponse(problem: Problem, requestId: string): Response {
  return new Response(problemBody(problem, requestId), {
    status: HTTP_STATUS[problem.problem],
    headers: { "content-type": "application/json", ...problem.headers },
  });
}

export function isProblem(value: unknown): value is Problem {
  return typeof value === "object" && value !== null && "problem" in value && !(value instanceof Response);
}

/** A yes, in JSON. */
export function json(body: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(body) + "\n", {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}
