/**
 * A queue for the target `queue`: a few jobs in every state on a real store, and beside it the same jobs in an
 * array, to which a filter is applied in the plainest words there are. What both say has to agree.
 */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { domainToASCII } from "node:url";
import { drop } from "../../../src/outbound/cancel.ts";
import type { HttpDeps } from "../../../src/servers/http/mod.ts";
import type { CarrierName, JobAction, JobState, NewMessage, Store } from "../../../src/store/types.ts";
import { newJob, newMessage } from "../../store/support.ts";

export const NOW = Date.UTC(2026, 5, 1);
const MINUTE_MS = 60_000;
const SENDER = "shop@here.test";
const LANES = ["*", "*@a.example", "a.example", "x'y\"%_"];
const EVENTS = ["mail.received", "mail.send", "mail.delivered", "MAIL.received"];
const HERE = { match: "*@here.test", url: "https://app.example/hook", on_reject: "drop" as const };

/** What is asked for, in the API's words; all as text, as a query has it. */
export type Words = Record<string, string>;

export interface Job {
  id: string;
  carrier: CarrierName;
  lane: string;
  event: string;
  messageId: string;
  recipients: string[];
  createdAt: number;
  state: JobState;
  inFlight: boolean;
}

// --- what is in the queue

/** As the doors normalize them. */
const stored = fc.tuple(
  fc.constantFrom(
    "ann",
    "Ann",
    '"x@a.example"',
    '"a\\"b"',
    '"a,b"',
    "\u00fcser",
    "o'hara",
    "*",
    "a%",
    '"a\\u0062"',
  ),
  fc.constantFrom(
    "a.example",
    "sub.a.example",
    "xn--bcher-kva.example",
    "a.example.org",
    "[192.0.2.1]",
    "[IPv6:2001:db8::1]",
  ),
).map((parts) => parts.join("@"));
const recipient = fc.oneof({ weight: 9, arbitrary: stored }, {
  weight: 1,
  arbitrary: fc.constantFrom("postmaster", "Postmaster"),
});

const job = fc.record({
  lane: fc.constantFrom(...LANES),
  event: fc.constantFrom(...EVENTS),
  recipients: fc.array(recipient, { minLength: 1, maxLength: 3 }),
  state: fc.constantFrom<JobState>("pending", "pending", "held", "dead", "delivered", "dropped"),
});
const mail = fc.record({
  outbound: fc.boolean(),
  ageMinutes: fc.constantFrom(0, 1, 30, 59, 60, 61, 3000),
  jobs: fc.array(job, { minLength: 1, maxLength: 4 }),
});
const lanes = fc.record({
  carrier: fc.constantFrom<CarrierName>("webhook", "smtp"),
  lane: fc.constantFrom(...LANES),
});

export const queue = fc.record({
  mails: fc.array(mail, { minLength: 1, maxLength: 4 }),
  /** Of these lanes one job each is in flight. */
  inFlight: fc.array(lanes, { maxLength: 2 }),
});
type Queue = typeof queue extends fc.Arbitrary<infer T> ? T : never;

// --- what is asked for

/** The same address in the ways that people and programs write it, and what is nearly it. */
const spelled = fc.tuple(recipient, fc.constantFrom("", "*", "upper", "unicode", "parent", "more")).map(
  ([text, how]) => {
    const at = text.lastIndexOf("@");
    if (how === "*" && at > 0) return `*${text.slice(at)}`;
    if (how === "upper") return text.toUpperCase();
    if (how === "unicode") return text.replace("xn--bcher-kva", "B\u00fccher");
    if (how === "parent" && at > 0) return `*@${text.slice(at + 1).replace(/^[^.]*\./, "")}`;
    return how === "more" ? `x${text}` : text;
  },
);

/** `#3` stands for the id of a job, and of a mail: they are made when the queue is. */
const place = fc.nat(12).map((n) => `#${n}`);
const anId = fc.oneof(
  { weight: 6, arbitrary: place },
  { weight: 1, arbitrary: place.map((text) => `${text}\0`) },
  { weight: 1, arbitrary: fc.constantFrom("x", "*", "' OR 1=1 --", "\ufffd", "%", "#", "null", "\0", '"') },
);

export const words: fc.Arbitrary<Words> = fc.record({
  ids: fc.array(anId, { minLength: 1, maxLength: 6 }).map((ids) => ids.join()),
  carrier: fc.constantFrom("webhook", "smtp"),
  state: fc.constantFrom("pending", "held", "dead", "delivered", "dropped", "pending,held", "dead,held,dead"),
  lane: fc.constantFrom(...LANES, "A.EXAMPLE", "*\0"),
  message_id: anId,
  event: fc.constantFrom(...EVENTS, "mail.dropped"),
  recipient: spelled,
  older_than: fc.constantFrom("0", "0s", "1m", "60m", "1h", "30m60s", "3600", "2d", "999999999999d"),
}, { requiredKeys: [] }).chain((all) =>
  // Few at a time, or nothing would ever match.
  fc.shuffledSubarray(Object.keys(all) as (keyof typeof all)[]).map((names) =>
    Object.fromEntries(names.slice(0, 3).map((name) => [name, all[name]!]))
  )
);

const MINUTES: Record<string, number> = { "0": 0, "0s": 0, "1m": 1, "30m60s": 31, "2d": 2880 };

function minutesOf(text: string): number {
  return MINUTES[text] ?? (text === "999999999999d" ? Infinity : 60);
}

// --- what a filter means

const ascii = (text: string) => text.replace(/[A-Z]/g, (char) => char.toLowerCase());

/** The local part as written but for its case, the domain in A-labels. */
function folded(address: string): string {
  const at = address.lastIndexOf("@") + 1;
  const domain = address.slice(at);
  return ascii(address.slice(0, at) + (domain.startsWith("[") || at === 0 ? domain : domainToASCII(domain)));
}

function meetsRecipient({ recipients }: Job, wanted: string): boolean {
  const text = folded(wanted);
  if (!text.startsWith("*@")) return recipients.some((address) => folded(address) === text);
  return recipients.map(folded).some((address) => {
    const at = address.lastIndexOf("@");
    return at >= 0 && address.slice(at) === text.slice(1);
  });
}

export function meets(job: Job, words: Words): boolean {
  return Object.entries(words).every(([name, text]) => {
    if (name === "ids") return text.split(",").includes(job.id);
    if (name === "recipient") return meetsRecipient(job, text);
    if (name === "older_than") return NOW - job.createdAt > minutesOf(text) * MINUTE_MS;
    if (name === "state") return text.split(",").includes(job.state);
    if (name === "message_id") return job.messageId === text;
    return job[name as "carrier" | "lane" | "event"] === text;
  });
}

const MAY: Record<JobAction, JobState[]> = {
  hold: ["pending"],
  release: ["held"],
  retry: ["pending", "held", "dead"],
  drop: ["pending", "held", "dead"],
};
const BECOMES: Record<JobAction, JobState> = {
  hold: "held",
  release: "pending",
  retry: "pending",
  drop: "dropped",
};

// --- both at once

export class QueueWorld {
  /** In the order in which they were made. */
  readonly jobs: Job[] = [];

  private constructor(readonly store: Store) {}

  static async make(store: Store, { mails, inFlight }: Queue): Promise<QueueWorld> {
    const world = new QueueWorld(store);
    for (const mail of mails) await world.#add(mail);
    for (const { carrier, lane } of inFlight) {
      for (const { id } of await store.claim(carrier, lane, NOW, 1)) {
        world.jobs.find((job) => job.id === id)!.inFlight = true;
      }
    }
    return world;
  }

  async #add({ outbound, ageMinutes, jobs }: Queue["mails"][number]): Promise<void> {
    const createdAt = NOW - ageMinutes * MINUTE_MS;
    const carrier: CarrierName = outbound ? "smtp" : "webhook";
    const rows = jobs.map((job) =>
      newJob({ ...job, carrier, dueAt: createdAt, expiresAt: NOW + 1000 * MINUTE_MS })
    );
    const message: NewMessage = newMessage({
      ...(outbound && { direction: "outbound", outbound: { metadata: null, dkim: [] }, mailFrom: SENDER }),
      receivedAt: createdAt,
      jobs: rows,
    });
    if (outbound) await this.store.submit(message, null);
    else await this.store.addMessage(message);
    for (const [i, { id, lane, event, recipients }] of rows.entries()) {
      const { state } = jobs[i]!;
      this.jobs.push({
        ...{ id, carrier, lane, event, recipients, state, createdAt, messageId: message.id, inFlight: false },
      });
      await this.#bringTo(id, state);
    }
  }

  async #bringTo(id: string, state: JobState): Promise<void> {
    if (state === "held") await this.store.actOnJobs("hold", { ids: [id] }, NOW, false);
    else if (state === "dropped") await this.store.actOnJobs("drop", { ids: [id] }, NOW, false);
    else if (state === "delivered") await this.store.settle(id, { kind: "delivered", at: NOW, code: 250 });
    else if (state === "dead") await this.store.settle(id, { kind: "dead", at: NOW, code: 550, error: "no" });
  }

  /** `#3` becomes the fourth job's id, or its mail's. */
  named(words: Words): Words {
    const id = (text: string, of: (job: Job) => string) =>
      text.replace(/#(\d+)/g, (_, n) => of(this.jobs[Number(n) % this.jobs.length]!));
    return Object.fromEntries(
      Object.entries(words).map(([name, text]) => {
        if (name === "ids") return [name, id(text, (job) => job.id)];
        return [name, name === "message_id" ? id(text, (job) => job.messageId) : text];
      }),
    );
  }

  /** The jobs that the words mean, newest first. */
  meant(words: Words): Job[] {
    return this.jobs.filter((job) => meets(job, words)).reverse();
  }

  changes(action: JobAction, words: Words): Job[] {
    return this.meant(words).filter((job) => !job.inFlight && MAY[action].includes(job.state));
  }

  /** The array's side of an action. Gives how many recipients of outgoing mail get an event by it. */
  act(action: JobAction, words: Words): number {
    let told = 0;
    for (const job of this.changes(action, words)) {
      if (action === "drop" && job.carrier === "smtp" && job.state !== "dead") told += job.recipients.length;
      job.state = BECOMES[action];
    }
    return told;
  }

  /** What an event made: webhooks that nobody has asked anything about yet. */
  learn(items: readonly Record<string, unknown>[]): void {
    for (const item of items) {
      assertEquals([item.event, item.carrier, item.state], ["mail.dropped", "webhook", "pending"]);
      this.jobs.push({
        id: item.id as string,
        carrier: "webhook",
        lane: HERE.match,
        event: "mail.dropped",
        messageId: item.message_id as string,
        recipients: item.recipients as string[],
        createdAt: NOW,
        state: "pending",
        inFlight: false,
      });
    }
  }
}

/** As the daemon wires it. */
export function queueActions(store: Store, clock: HttpDeps["clock"]): HttpDeps["queue"] {
  const config = () => ({ routes: [HERE], webhook_url: undefined, webhook_max_age: 1000 * MINUTE_MS });
  return (action, filter, dryRun) =>
    action === "drop"
      ? drop({ store, config, clock }, filter, dryRun)
      : store.actOnJobs(action, filter, clock.now(), dryRun);
}
