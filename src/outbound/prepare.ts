/**
 * The two forms in which an app gives a message, brought to one: who sends to whom, and how to make the bytes
 * once it is known that they are wanted. Nothing is composed or signed for a request that is refused.
 */

import type { HeaderBlock } from "../mail/header.ts";
import type { MessageBytes } from "../mail/types.ts";
import type { Spooled } from "../store/types.ts";
import { type CheckedFields, checkFields } from "./compose_check.ts";
import { type CheckedRaw, checkRaw, rawHead } from "./raw.ts";
import type { Compose, Sign, Signer, SigningKey } from "./task_types.ts";
import type { Finding, OutgoingFields, OutgoingRaw } from "./types.ts";

export type Source = { kind: "fields"; fields: OutgoingFields } | { kind: "raw"; raw: OutgoingRaw };

export type HeaderFields = [name: string, value: string][];

/** What is decided by the flow and not by the app. */
export interface MakeOptions {
  /** Ours, where the app gave none. */
  messageId: string;
  now: number;
  /** When it is to go out: its Date, where the app gave none. */
  sendAt: number;
  keys: SigningKey[];
  /** Fields of ours, e.g. List-Unsubscribe. */
  added: HeaderFields;
}

export interface MadeMessage {
  kind: "made";
  /** Signed. */
  head: Uint8Array;
  body: MessageBytes;
  signers: Signer[];
}

export type Made = MadeMessage | { kind: "unfit"; path: string; problem: string };

/** A checked message that is not made yet. */
export interface Prepared {
  author: { address: string; domain: string };
  recipients: string[];
  hasListUnsubscribe: boolean;
  make(options: MakeOptions): Promise<Made>;
}

export interface PrepareDeps {
  ownsDomain(domain: string): boolean;
  compose: Compose;
  sign: Sign;
}

export function prepare(deps: PrepareDeps, source: Source): Prepared | Finding[] {
  if (source.kind === "fields") {
    const checked = checkFields(source.fields, deps.ownsDomain);
    return Array.isArray(checked) ? checked : fromFields(deps, checked);
  }
  const checked = checkRaw(source.raw, deps.ownsDomain);
  return Array.isArray(checked) ? checked : fromRaw(deps, checked, source.raw.spooled);
}

function fromFields(deps: PrepareDeps, checked: CheckedFields): Prepared {
  const { author, recipients, input } = checked;
  return {
    author: author.mailbox,
    recipients,
    hasListUnsubscribe: input.headers.some(([name]) => isListUnsubscribe(name)),
    async make({ messageId, now, sendAt, keys, added }) {
      const output = await deps.compose({
        ...input,
        headers: [...input.headers, ...added],
        messageId: checked.messageId ?? messageId,
        date: checked.date ?? rfcDate(sendAt),
        keys,
        signedAt: now,
      });
      if (output.kind === "unfit") return output;
      return { ...output, body: { kind: "memory", bytes: output.body } };
    },
  };
}

function fromRaw(deps: PrepareDeps, { author, recipients, header }: CheckedRaw, spooled: Spooled): Prepared {
  return {
    author: author.mailbox,
    recipients,
    hasListUnsubscribe: header.fields.some(({ name }) => isListUnsubscribe(name)),
    async make({ messageId, now, sendAt, keys, added }) {
      const head = rawHead(header, [...missingFields(header, messageId, sendAt), ...added]);
      const output = await deps.sign({ header: head, body: spooled.body, keys, signedAt: now });
      return output.kind === "unfit" ? output : { ...output, body: spooled.body };
    },
  };
}

const isListUnsubscribe = (name: string) => /^list-unsubscribe(?:-post)?$/i.test(name);

/** RFC 5322 3.6: Date must be there, Message-ID should. */
function missingFields(header: HeaderBlock, messageId: string, sendAt: number): HeaderFields {
  const fields: HeaderFields = [];
  if (header.count("date") === 0) fields.push(["Date", rfcDate(sendAt)]);
  if (header.count("message-id") === 0) fields.push(["Message-ID", messageId]);
  return fields;
}

/** RFC 5322 3.3; toUTCString is that but for the zone. */
function rfcDate(at: number): string {
  return new Date(at).toUTCString().replace("GMT", "+0000");
}
