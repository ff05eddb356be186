/** Whether what signs mail of the domain is published as it should be, and whether anything signs it at all. */

import { messageOf } from "../base/errors.ts";
import { recordOf } from "./dkim_keys.ts";
import { judgeRecord } from "./dkim_record.ts";
import type { Finding, Subject } from "./domain_check_subject.ts";
import type { DkimKey } from "./types.ts";

/** A key that signs or did until now: verifiers look its record up. */
async function checkPublished({ dns }: Subject, key: DkimKey): Promise<Finding> {
  const record = recordOf(key);
  const { isRight, found } = judgeRecord(await dns.texts(record.name), key);
  const what = key.state === "active"
    ? `${key.selector} signs`
    : `${key.selector} has signed mail that may be under way`;
  if (isRight) return { status: "ok", detail: `${what}, and ${record.name} has ${found}`, records: [] };
  const status = key.state === "active" ? "failed" : "warning";
  return { status, detail: `${what}, but ${record.name} has ${found}`, records: [record] };
}

async function checkPending({ dns, domain }: Subject, key: DkimKey): Promise<Finding> {
  const record = recordOf(key);
  const { isRight, found } = judgeRecord(await dns.texts(record.name), key);
  const detail = isRight
    ? `${key.selector} is published and signs nothing yet: \`gomail dkim activate ${domain}\``
    : `${key.selector} waits to be published: ${record.name} has ${found}`;
  return { status: "warning", detail, records: isRight ? [] : [record] };
}

/** What sending would say: without it a key could be right in DNS and missing on disk. */
async function unusable({ dkim, domain }: Subject): Promise<Finding[]> {
  try {
    await dkim.signingKeys(domain);
    return [];
  } catch (error) {
    return [{ status: "failed", detail: messageOf(error), records: [] }];
  }
}

export async function checkDkimRecords(subject: Subject): Promise<Finding[]> {
  const { domain, dkim, signs } = subject;
  const keys = await dkim.list(domain);
  const used = keys.filter(({ state }) => state === "active" || state === "retiring");
  const waiting = keys.filter(({ state }) => state === "pending");
  const findings = [
    ...await unusable(subject),
    ...await Promise.all(used.map((key) => checkPublished(subject, key))),
    ...await Promise.all(waiting.map((key) => checkPending(subject, key))),
  ];
  if (!signs) {
    const detail = "dkim_sign_outbound is false: mail goes unsigned";
    return [{ status: "warning", detail, records: [] }, ...findings];
  }
  const isSigned = keys.some(({ state }) => state === "active") || waiting.length > 0;
  if (isSigned || findings.some(({ status }) => status === "failed")) return findings;
  const detail = `no key signs, so mail goes unsigned: \`gomail dkim generate ${domain}\` makes some`;
  return [{ status: "warning", detail, records: [] }, ...findings];
}
