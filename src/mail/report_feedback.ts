/**
 * Complaints: the message/feedback-report part of the Abuse Reporting Format (RFC 5965 3), and what Microsoft's
 * JMRP sent before it came round to that, a bare copy of the message with one field more on top. Which message
 * of ours it is about is for the signed envelope sender in it to say; here the places where one may stand are
 * only looked through.
 */

import { type Field, firstField, parseFields } from "./fields.ts";
import { fieldGroups, hostOf } from "./report_fields.ts";
import type { ReportFinding } from "./report_types.ts";
import { findVerps } from "./verp.ts";

const SENDERS_MAX = 10;
/** Of the message complained of only its header is of interest. */
const EMBEDDED_BYTES_MAX = 64 * 1024;
const JMRP_FIELD = "x-hmxmroriginalrecipient";
/** Where the envelope sender stands, by rank; any other field comes after these. */
const PLACES = ["original-mail-from", "return-path"];

/** `report` is the part's content, `embedded` that of the message or header block that comes with it. */
export function readFeedback(report: Uint8Array, embedded: Uint8Array | null): ReportFinding {
  const fields = fieldGroups(report).flat();
  const type = /^[\w-]{1,40}/.exec(firstField(fields, "feedback-type") ?? "")?.[0].toLowerCase() ?? "";
  return {
    kind: "feedback",
    type,
    reporter: hostOf(fields, "reporting-mta"),
    senders: sendersIn([...fields, ...headerOf(embedded)]),
  };
}

/** A copy of the message as JMRP forwarded it, or null when it is no such copy. */
export function readForwardedCopy(embedded: Uint8Array): ReportFinding | null {
  const fields = headerOf(embedded);
  if (firstField(fields, JMRP_FIELD) === null) return null;
  return { kind: "feedback", type: "abuse", reporter: null, senders: sendersIn(fields) };
}

function headerOf(embedded: Uint8Array | null): Field[] {
  return embedded === null ? [] : parseFields(embedded.subarray(0, EMBEDDED_BYTES_MAX)).fields;
}

function sendersIn(fields: Field[]): string[] {
  const rank = (field: Field) => {
    const place = PLACES.indexOf(field.name.toLowerCase());
    return place < 0 ? PLACES.length : place;
  };
  const found = new Set<string>();
  for (const field of fields.toSorted((a, b) => rank(a) - rank(b))) {
    for (const address of findVerps(field.value)) found.add(address);
    if (found.size >= SENDERS_MAX) break;
  }
  return [...found].slice(0, SENDERS_MAX);
}
