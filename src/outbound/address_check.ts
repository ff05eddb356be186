/**
 * Whose mail it is and whom it goes to. The recipients of one message stand in the order written and each once:
 * domains compare as A-labels, local parts as written, because only the other side knows what its case means
 * (RFC 5321 2.4). An address's place in this list is what its return path names, so it never changes.
 */

import { type NamedMailbox, parseNamed } from "../mail/address_list.ts";
import { decodeWords } from "../mail/words.ts";
import type { Say } from "./text_check.ts";

export const RECIPIENTS_MAX = 1_000;
/** Not worth looking at one by one: even with every address twice it is too many. */
const ENTRIES_MAX = 2 * RECIPIENTS_MAX;
/** One that is ASCII is a single word when it is folded. */
const NAME_CHARS_MAX = 255;

type Parse = (text: string) => NamedMailbox | string;

/**
 * An address in a JSON field. A name that looks like an encoded word is read as one by some programs and as
 * itself by others, quotes or not (RFC 2047 5 (3), 7).
 */
export function parseField(text: string): NamedMailbox | string {
  const named = parseNamed(text);
  if (typeof named === "string") return named;
  if (named.name.length > NAME_CHARS_MAX) return `has a name of more than ${NAME_CHARS_MAX} characters`;
  return named.name.includes("=?") && decodeWords(named.name) !== named.name
    ? "has a name in encoded words (RFC 2047): write it as it is, sending encodes it"
    : named;
}

/** Null when we send in this author's name. */
export function authorProblem(
  { mailbox }: NamedMailbox,
  ownsDomain: (domain: string) => boolean,
): string | null {
  return ownsDomain(mailbox.domain) ? null : "is not at a domain of ours";
}

export class RecipientList {
  readonly #addresses = new Set<string>();

  constructor(private readonly say: Say, private readonly parse: Parse) {}

  /** Takes lists by the name that the app gave them; returns each list's mailboxes, less those that are none. */
  addAll<K extends string>(lists: Record<K, readonly string[]>): Record<K, NamedMailbox[]> {
    const paths = Object.keys(lists) as K[];
    const first = paths[0]!;
    const taken = Object.fromEntries(paths.map((path) => [path, []])) as unknown as Record<K, NamedMailbox[]>;
    const entries = paths.reduce((sum, path) => sum + lists[path].length, 0);
    const tooMany = (count: number) =>
      this.say(first, `makes ${count} recipients: at most ${RECIPIENTS_MAX} at once`);
    if (entries > ENTRIES_MAX) {
      tooMany(entries);
      return taken;
    }
    if (entries === 0) this.say(first, "is empty: a message needs a recipient");
    for (const path of paths) {
      lists[path].forEach((text, i) => {
        const named = this.#add(text, `${path}[${i}]`);
        if (named) taken[path].push(named);
      });
    }
    if (this.#addresses.size > RECIPIENTS_MAX) tooMany(this.#addresses.size);
    return taken;
  }

  #add(text: string, path: string): NamedMailbox | null {
    const named = this.parse(text);
    if (typeof named === "string") this.say(path, named);
    else if (named.mailbox.domain.startsWith("[")) {
      this.say(path, "is at an address literal: mail goes to domains only");
    } else {
      this.#addresses.add(named.mailbox.address);
      return named;
    }
    return null;
  }

  /** `local@domain`, the domain in A-labels. */
  addresses(): string[] {
    return [...this.#addresses];
  }
}
