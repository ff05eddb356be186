/**
 * DNS messages (RFC 1035 4) as typed values: the only door to dns-packet, which has no types of its own.
 * Queries carry EDNS (RFC 6891) with a size that passes every path unfragmented, and the AD bit, which asks a
 * validating resolver to say whether it validated (RFC 6840 5.7).
 */

import dnsPacket from "dns-packet";
import { Buffer } from "node:buffer";

export type RecordType = "A" | "AAAA" | "CNAME" | "MX" | "NS" | "PTR" | "SOA" | "SRV" | "TLSA" | "TXT";

/** What node:dns calls the ways to fail, so that libraries written for that understand. */
export type DnsErrorCode =
  | "ENOTFOUND"
  | "ENODATA"
  | "EBADNAME"
  | "ETIMEOUT"
  | "ESERVFAIL"
  | "EREFUSED"
  | "ECANCELLED";

export interface DnsRecord {
  name: string;
  type: string;
  ttl: number;
  /** As dns-packet gives it: text for addresses and names, an object for MX, buffers for TXT. */
  data: unknown;
}

export interface DnsMessage {
  id: number;
  type: "query" | "response";
  /** Flag bits of the second header word, without opcode and rcode. */
  flags: number;
  rcode: string;
  truncated: boolean;
  authenticData: boolean;
  questions: { name: string; type: string; class: string }[];
  answers: DnsRecord[];
  authorities: DnsRecord[];
}

interface DnsPacketLibrary {
  encode(message: unknown): Uint8Array;
  decode(bytes: Uint8Array): unknown;
  RECURSION_DESIRED: number;
  AUTHENTIC_DATA: number;
}

const library = dnsPacket as DnsPacketLibrary;
/** RFC 9715 3: no larger, or fragments get lost. */
export const UDP_BYTES_MAX = 1232;
const NAME_CHARS_MAX = 253;

/**
 * The name in the form we ask and cache by (lower case, no root dot), or null when it can't be in the DNS:
 * labels of 1 to 63 octets, 253 in all (RFC 1035 2.3.4). Names come from hostile mail, and dns-packet would
 * write an overlong label as a compression pointer.
 */
export function dnsName(name: string): string | null {
  const bare = name.endsWith(".") ? name.slice(0, -1) : name;
  if (bare.length === 0 || bare.length > NAME_CHARS_MAX || !/^[\x21-\x7e]+$/.test(bare)) return null;
  return bare.split(".").every((label) => label.length >= 1 && label.length <= 63)
    ? bare.toLowerCase()
    : null;
}

export function encodeQuery(id: number, name: string, type: RecordType, edns: boolean): Uint8Array {
  return library.encode({
    type: "query",
    id,
    flags: library.RECURSION_DESIRED | library.AUTHENTIC_DATA,
    questions: [{ name, type, class: "IN" }],
    additionals: edns
      ? [{ type: "OPT", name: ".", udpPayloadSize: UDP_BYTES_MAX, flags: 0, options: [] }]
      : [],
  });
}

/** Any message as bytes; for the answers of the demo's name server. */
export function encodeMessage(message: Record<string, unknown>): Uint8Array {
  return library.encode(message);
}

/** Throws when the bytes are no DNS message. */
export function decodeMessage(bytes: Uint8Array): DnsMessage {
  const raw = library.decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)) as {
    id: number;
    type: "query" | "response";
    flags: number;
    rcode?: string;
    flag_tc: boolean;
    flag_ad: boolean;
    questions: DnsMessage["questions"];
    answers: DnsRecord[];
    authorities: DnsRecord[];
  };
  return {
    id: raw.id,
    type: raw.type,
    flags: raw.flags,
    rcode: raw.rcode ?? "NOERROR",
    truncated: raw.flag_tc,
    authenticData: raw.flag_ad,
    questions: raw.questions,
    answers: raw.answers,
    authorities: raw.authorities,
  };
}
