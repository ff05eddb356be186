/** `webhook test` and `webhook rotate-secret`: what a receiver answers, and how its secret is changed. */

import { printable } from "../base/printable.ts";
import { type Command, EXIT, type Invocation, isOn, UsageError } from "./command.ts";
import { CONTROL_FLAG, JSON_FLAG, onDaemon } from "./context.ts";
import { json } from "./format.ts";

interface SampleShown {
  url: string;
  status: number | null;
  took_ms: number;
  outcome: string;
  error: string | null;
  answer: string | null;
}

/** Exit 1 when a real webhook would not have been delivered, so that a script can tell. */
async function runTest(invocation: Invocation): Promise<number> {
  const { io, flags, args } = invocation;
  const body = args[0] === undefined ? {} : { url: args[0] };
  const answer = await onDaemon(
    invocation,
    (client) => client.request("POST", "/v1/webhook/test", { body }),
  );
  const items = (answer as { items?: SampleShown[] } | null)?.items ?? [];
  if (isOn(flags, "json")) io.out(json(answer));
  else for (const item of items) io.out(shown(item));
  return items.every(({ outcome }) => outcome === "delivered") ? EXIT.ok : EXIT.failed;
}

function shown({ url, status, took_ms, outcome, error, answer }: SampleShown): string {
  const lines = [`${url}: ${status ?? "no answer"} in ${took_ms} ms, ${outcome}`];
  if (error) lines.push(`  ${error}`);
  if (answer) lines.push(`  ${answer}`);
  return lines.map((line) => printable(line) + "\n").join("");
}

async function runRotate(invocation: Invocation): Promise<number> {
  const { io, flags } = invocation;
  const [retire, cancel] = [isOn(flags, "retire"), isOn(flags, "cancel")];
  if (retire && cancel) throw new UsageError("give --retire or --cancel, not both");
  const action = retire ? "retire" : cancel ? "cancel" : "rotate";
  const answer = await onDaemon(
    invocation,
    (client) => client.request("POST", "/v1/webhook/secret", { body: { action } }),
  );
  if (isOn(flags, "json")) {
    io.out(json(answer));
    return EXIT.ok;
  }
  const { next } = (answer ?? {}) as { next?: string };
  if (next !== undefined) {
    // The secret alone goes to stdout, so that a script can take it.
    io.out(`${next}\n`);
    io.err(
      "Both secrets sign now. Give this one to each receiver, then: gomail webhook rotate-secret --retire\n",
    );
  } else io.out(retire ? "The first secret signs no more\n" : "The second secret signs no more\n");
  return EXIT.ok;
}

export const webhookCommands: readonly Command[] = [
  {
    name: "webhook test",
    summary: "Sends a signed sample to a receiver, or to each route's, and shows the answer",
    usage: "[URL] [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: { min: 0, max: 1 },
    examples: ["webhook test", "webhook test https://app.example.com/mail"],
    run: runTest,
  },
  {
    name: "webhook rotate-secret",
    summary: "Adds a second webhook secret; later retires the first",
    usage: "[--retire | --cancel] [--json]",
    flags: [
      { name: "retire", kind: "switch", summary: "the second takes the first one's place" },
      { name: "cancel", kind: "switch", summary: "takes the second one back" },
      JSON_FLAG,
      CONTROL_FLAG,
    ],
    examples: ["webhook rotate-secret", "webhook rotate-secret --retire"],
    run: runRotate,
  },
];
