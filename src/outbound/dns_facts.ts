/**
 * What DNS says, for those who judge it: no record is an empty list, and an answer that is not known (a sick
 * name server, no time) is NoAnswer, so that nothing is called missing because nobody could tell.
 */

import { DnsError, type Resolver } from "../base/resolver.ts";
import type { RecordType } from "../base/dns_message.ts";

/** Nobody knows: to be asked again later. */
export class NoAnswer extends Error {
  override readonly name = "NoAnswer";
  constructor(readonly question: string, readonly code: string) {
    super(`DNS gave no answer for ${question} (${code})`);
  }
}

export interface MxRecord {
  exchange: string;
  priority: number;
}

/** Every method rejects with NoAnswer where the answer is not known. */
export interface DnsFacts {
  /** The strings of each record joined (RFC 7208 3.3, RFC 6376 3.6.2.2). */
  texts(name: string): Promise<string[]>;
  /** By priority; a null MX (RFC 7505) is an exchange of "". */
  mx(name: string): Promise<MxRecord[]>;
  addresses(name: string, family?: 4 | 6): Promise<string[]>;
  /** PTR and CNAME: names in lower case, without the final dot. */
  names(name: string, type: "PTR" | "CNAME"): Promise<string[]>;
}

const bare = (name: string) => name.replace(/\.$/, "").toLowerCase();

export function dnsFacts(resolver: Pick<Resolver, "nodeStyle">): DnsFacts {
  const ask = async (name: string, type: RecordType): Promise<unknown[]> => {
    try {
      return await resolver.nodeStyle(name, type) as unknown[];
    } catch (error) {
      if (!(error instanceof DnsError)) throw error;
      if (!error.temporary) return [];
      throw new NoAnswer(`${name} ${type}`, error.code);
    }
  };
  const addresses = async (name: string, family?: 4 | 6): Promise<string[]> => {
    if (family !== undefined) return await ask(name, family === 4 ? "A" : "AAAA") as string[];
    return (await Promise.all([addresses(name, 4), addresses(name, 6)])).flat();
  };
  return {
    texts: async (name) => (await ask(name, "TXT") as string[][]).map((strings) => strings.join("")),
    async mx(name) {
      const records = await ask(name, "MX") as MxRecord[];
      return records.map(({ exchange, priority }) => ({ exchange: bare(exchange), priority }))
        .sort((a, b) => a.priority - b.priority);
    },
    addresses,
    names: async (name, type) => (await ask(name, type) as string[]).map(bare),
  };
}
