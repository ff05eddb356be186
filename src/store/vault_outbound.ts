/**
 * The vault's verbs that only mail that we send needs: submitting with a key, events to be pulled, what became of
 * each attempt, suppressions, DKIM keys and MTA-STS policies.
 */

import { eventCursor, eventQuery, page, rowQuery } from "./cursor.ts";
import { foldAddress, foldDomain } from "./folded_address.ts";
import { attemptRecord, effectsRow, suppressionRecord, suppressionRow } from "./job_records.ts";
import {
  dkimKeyRecord,
  dkimKeyRow,
  eventRecord,
  idempotencyRow,
  stsPolicyRecord,
  stsPolicyRow,
} from "./records.ts";
import type {
  AttemptRecord,
  DkimKeyRecord,
  Effects,
  EventRecord,
  IdempotencyKey,
  JobDrop,
  NewMessage,
  Page,
  PageQuery,
  Store,
  StsPolicyRecord,
  SubmitResult,
  SuppressionReason,
  SuppressionRecord,
} from "./types.ts";
import { PorterVault } from "./vault_porter.ts";
import type { OutboundVerbs } from "./verbs.ts";

/** Jobs given up in one transaction. */
const DROP_BATCH = 500;

export class OutboundVault extends PorterVault implements Pick<Store, keyof OutboundVerbs> {
  async submit(message: NewMessage, idempotency: IdempotencyKey | null): Promise<SubmitResult> {
    const key = idempotency && idempotencyRow(idempotency);
    // Stands when the answer got lost but the message turns out to be there.
    let result: SubmitResult = { kind: "stored" };
    await this.keep(message, async (row) => {
      result = await this.call("submit", row, key, this.parts.clock.now());
      return result.kind === "stored";
    });
    return result;
  }

  async recallKey(key: string, now: number): Promise<Pick<IdempotencyKey, "bodyHash" | "answer"> | null> {
    const row = await this.call("recallKey", key, now);
    return row && { bodyHash: row.body_hash, answer: row.answer };
  }

  async dropJobs(drops: JobDrop[]): Promise<number> {
    let count = 0;
    for (let at = 0; at < drops.length; at += DROP_BATCH) {
      const batch = drops.slice(at, at + DROP_BATCH);
      const rows = batch.map(({ effects, ...job }) => ({ ...job, effects: effectsRow(effects) }));
      count += await this.call("dropJobs", rows);
    }
    return count;
  }

  async listAttempts(jobId: string): Promise<AttemptRecord[]> {
    return (await this.call("listAttempts", jobId)).map(attemptRecord);
  }

  countUnsent(senderDomain: string, before: number): Promise<number> {
    return this.call("countUnsent", foldDomain(senderDomain), before);
  }

  async listEvents(
    query: PageQuery & { messageId?: string | undefined },
  ): Promise<{ items: EventRecord[]; nextCursor: string }> {
    const { after, limit } = eventQuery(query);
    const rows = await this.call("listEvents", query.messageId ?? null, after, limit);
    return { items: rows.map(eventRecord), nextCursor: eventCursor(rows.at(-1)?.seq ?? after) };
  }

  async addEffects(effects: Effects): Promise<void> {
    const row = effectsRow(effects);
    if (row) await this.call("addEffects", row);
  }

  async listSuppressions(
    filter: { address?: string | undefined; reason?: SuppressionReason | undefined },
    query: PageQuery,
  ): Promise<Page<SuppressionRecord>> {
    const address = filter.address === undefined ? null : foldAddress(filter.address);
    const wanted = { address, reason: filter.reason ?? null };
    return page(await this.call("listSuppressions", wanted, rowQuery(query)), suppressionRecord);
  }

  async findSuppressed(addresses: string[]): Promise<SuppressionRecord[]> {
    const folded = [...new Set(addresses.map(foldAddress))];
    return (await this.call("findSuppressed", folded)).map(suppressionRecord);
  }

  addSuppression(suppression: SuppressionRecord): Promise<boolean> {
    return this.call("addSuppression", suppressionRow(suppression));
  }

  removeSuppression(address: string): Promise<boolean> {
    return this.call("removeSuppression", foldAddress(address));
  }

  async listDkimKeys(domain?: string): Promise<DkimKeyRecord[]> {
    return (await this.call("listDkimKeys", domain ?? null)).map(dkimKeyRecord);
  }

  addDkimKeys(keys: DkimKeyRecord[]): Promise<boolean> {
    return this.call("addDkimKeys", keys.map(dkimKeyRow));
  }

  updateDkimKeys(keys: DkimKeyRecord[]): Promise<void> {
    return this.call("updateDkimKeys", keys.map(dkimKeyRow));
  }

  async getStsPolicy(domain: string): Promise<StsPolicyRecord | null> {
    const row = await this.call("getStsPolicy", domain);
    return row && stsPolicyRecord(row);
  }

  putStsPolicy(policy: StsPolicyRecord): Promise<void> {
    return this.call("putStsPolicy", stsPolicyRow(policy));
  }
}
