/** `queue list|show|hold|release|retry|drop`: what is owed to receivers, by id or by filter. */

import { printable } from "../base/printable.ts";
import {
  type Command,
  EXIT,
  type Flag,
  type Invocation,
  isOn,
  numberOf,
  UsageError,
  valueOf,
} from "./command.ts";
import { CONTROL_FLAG, JSON_FLAG, onDaemon } from "./context.ts";
import { segment } from "./control_client.ts";
import { cellOf, fields, json } from "./format.ts";
import { PAGE_FLAGS, printPage } from "./message.ts";

/** What the API takes in one request; of a query's line of text fewer. */
const IDS_MAX = 1000;
const LISTED_IDS_MAX = 100;

interface Filter {
  flag: Flag;
  /** The API's name for it. */
  field: string;
}

/** The filter grammar is the API's: these are its words, and what they mean is checked there. */
const FILTERS: readonly Filter[] = [
  {
    flag: { name: "carrier", kind: "value", placeholder: "C", summary: "only webhook, or only smtp" },
    field: "carrier",
  },
  {
    flag: {
      name: "state",
      kind: "value",
      placeholder: "S",
      summary: "only jobs in this state, or in one of several with commas between them",
    },
    field: "state",
  },
  {
    flag: {
      name: "lane",
      kind: "value",
      placeholder: "L",
      summary: "only jobs of this lane (a route's match, or a recipient's domain)",
    },
    field: "lane",
  },
  {
    flag: { name: "message", kind: "value", placeholder: "ID", summary: "only jobs of this mail" },
    field: "message_id",
  },
  {
    flag: { name: "event", kind: "value", placeholder: "E", summary: "only jobs of this event" },
    field: "event",
  },
  {
    flag: {
      name: "recipient",
      kind: "list",
      placeholder: "R",
      summary: "only jobs of this address, or of *@domain",
    },
    field: "recipient",
  },
  {
    flag: {
      name: "older-than",
      kind: "value",
      placeholder: "T",
      summary: "only jobs made longer ago: 30m, 2h, 3d",
    },
    field: "older_than",
  },
];

const FILTER_FLAGS = FILTERS.map(({ flag }) => flag);
/** Without a state the list shows less than the four act on. */
const LIST_FILTER_FLAGS = FILTER_FLAGS.map((flag) =>
  flag.name !== "state" ? flag : {
    ...flag,
    summary:
      `${flag.summary}; all: in any. Without it pending, held and dead ones, of an ID or a --message in any`,
  }
);
const FILTER_USAGE = FILTER_FLAGS.map(({ name, placeholder }) => `[--${name} ${placeholder}]`).join(" ");

/** The API's filter, of what was given. The front desk has refused what is empty, or given twice but for lists. */
function filters({ flags }: Invocation): Record<string, string> {
  const given: Record<string, string> = {};
  for (const { flag, field } of FILTERS) {
    const value = valueOf(flags, flag.name);
    if (value === undefined) continue;
    if (flags.get(flag.name)!.length > 1) throw new UsageError(`--${flag.name} is given more than once`);
    given[field] = value;
  }
  return given;
}

/** Ids, each an argument or with commas between them, as in a query of the API. */
function idsOf({ args }: Invocation): string[] {
  return args.flatMap((arg) => arg.split(","));
}

/** What is owed, and what could not be paid: the rest is over. */
const LISTED_STATES = "pending,held,dead";

/** The state to ask for; null for any. Who names jobs, or a mail, wants to see how they ended as well. */
function listedState(invocation: Invocation): string | null {
  const { state, message_id } = filters(invocation);
  if (state !== undefined) return state === "all" ? null : state;
  return message_id !== undefined || invocation.args.length > 0 ? null : LISTED_STATES;
}

/** Newest first, as the API has it. */
async function runList(invocation: Invocation): Promise<number> {
  const { flags } = invocation;
  const ids = idsOf(invocation);
  const { state: _, ...filter } = filters(invocation);
  const state = listedState(invocation);
  const query = {
    ...(ids.length > 0 && { ids: ids.join(",") }),
    ...filter,
    ...(state !== null && { state }),
    limit: numberOf(flags, "limit"),
    cursor: valueOf(flags, "cursor"),
  };
  const answer = await onDaemon(invocation, (client) => client.request("GET", "/v1/queue", { query }));
  const columns = [
    ["ID", "id"],
    ["STATE", "state"],
    ["CARRIER", "carrier"],
    ["LANE", "lane"],
    ["EVENT", "event"],
    ["MESSAGE", "message_id"],
    ["RECIPIENTS", "recipients"],
    ["ATTEMPTS", "attempts"],
    ["DUE", "due_at"],
    ["LAST ERROR", "last_error"],
  ] as const;
  const isWhole = ids.length === 0 && Object.keys(filters(invocation)).length === 0;
  return printPage(invocation, answer, columns, isWhole ? "the queue is empty" : "no such jobs");
}

type Item = Record<string, unknown>;

/** One attempt: a line about it, and under it what was said, as it was said. */
function attemptText(attempt: Item): string {
  const said = typeof attempt.transcript === "string" ? attempt.transcript.trimEnd() : "";
  const facts = [attempt.at, attempt.outcome, attempt.code, attempt.remote, `${cellOf(attempt.took_ms)} ms`]
    .filter((fact) => fact !== null && fact !== undefined).map(cellOf);
  const lines = said === "" ? [] : said.split(/\r?\n/);
  return [`attempt ${cellOf(attempt.number)}: ${facts.join(", ")}`, ...lines.map((line) => `    ${line}`)]
    .map((line) => printable(line).trimEnd() + "\n").join("");
}

async function runShow(invocation: Invocation): Promise<number> {
  const path = `/v1/queue/${segment(invocation.args[0]!)}`;
  const answer = await onDaemon(invocation, (client) => client.request("GET", path));
  if (isOn(invocation.flags, "json")) invocation.io.out(json(answer));
  else {
    const { attempts, ...job } = (answer ?? {}) as Item;
    const list = Array.isArray(attempts) ? attempts as Item[] : [];
    invocation.io.out([fields(job), ...list.map(attemptText)].join("\n"));
  }
  return EXIT.ok;
}

/** hold, release, retry and drop differ in one word. */
function action(verb: "hold" | "release" | "retry" | "drop", past: string, summary: string): Command {
  return {
    name: `queue ${verb}`,
    summary,
    usage: `[ID...] ${FILTER_USAGE} [--all] [--dry-run] [--json]`,
    flags: [
      ...FILTER_FLAGS,
      { name: "all", kind: "switch", summary: "the whole queue" },
      { name: "dry-run", kind: "switch", summary: "only says how many there are" },
      JSON_FLAG,
      CONTROL_FLAG,
    ],
    args: { min: 0, max: IDS_MAX },
    examples: [
      `queue ${verb} --lane '*@example.com' --dry-run`,
      `queue ${verb} --carrier smtp --recipient '*@example.org' --older-than 2h`,
    ],
    async run(invocation) {
      const { io, flags, args } = invocation;
      const chosen = filters(invocation);
      const isAll = isOn(flags, "all");
      // The API refuses this as well; here it costs no round trip, and the words fit the flags.
      if (args.length === 0 && Object.keys(chosen).length === 0 && !isAll) {
        const names = FILTER_FLAGS.map(({ name }) => `--${name}`).join(", ");
        throw new UsageError(`which jobs? name ids, or a filter (${names}), or --all`);
      }
      if (isAll && args.length + Object.keys(chosen).length > 0) {
        throw new UsageError("--all means the whole queue: leave out ids and filters");
      }
      const isDryRun = isOn(flags, "dry-run");
      const body = {
        ...(args.length > 0 && { ids: idsOf(invocation) }),
        ...chosen,
        ...(isAll && { all: true }),
        ...(isDryRun && { dry_run: true }),
      };
      const path = `/v1/queue/${verb}`;
      const answer = await onDaemon(invocation, (client) => client.request("POST", path, { body }));
      const matched = Number((answer as { matched?: unknown } | null)?.matched ?? 0);
      const jobs = matched === 1 ? "job" : "jobs";
      const text = isDryRun ? `${matched} ${jobs} would be ${past}\n` : `${matched} ${jobs} ${past}\n`;
      io.out(isOn(flags, "json") ? json(answer) : text);
      return EXIT.ok;
    },
  };
}

export const queueCommands: readonly Command[] = [
  {
    name: "queue list",
    summary: "Lists what is owed to receivers, and dead letters",
    usage: `[ID...] ${FILTER_USAGE} [--limit N] [--cursor C] [--json]`,
    flags: [...LIST_FILTER_FLAGS, ...PAGE_FLAGS, JSON_FLAG, CONTROL_FLAG],
    args: { min: 0, max: LISTED_IDS_MAX },
    examples: [
      "queue list --state dead",
      "queue list --state all --older-than 3d",
      "queue list --message 01JBX2G7S9T4Q0V8N3M5K6H1CD",
      "queue list --carrier smtp --recipient '*@example.org' --older-than 2h",
    ],
    run: runList,
  },
  {
    name: "queue show",
    summary: "Shows a job and what was said in each attempt to send it",
    usage: "ID [--json]",
    flags: [JSON_FLAG, CONTROL_FLAG],
    args: { min: 1, max: 1 },
    examples: ["queue show evt_01JBX2G7S9T4Q0V8N3M5K6H1CD_1c9a40b2"],
    run: runShow,
  },
  action("hold", "held", "Stops trying jobs until they are released"),
  action("release", "released", "Lets held jobs go on"),
  action("retry", "made due", "Tries jobs now, dead letters included"),
  action("drop", "dropped", "Gives jobs up: they are never sent"),
];
