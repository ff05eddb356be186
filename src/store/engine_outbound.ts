/**
 * The engine's verbs that only mail that we send needs. See engine.ts for the rules; like there, everything
 * between two awaits is synchronous, and a write returns what follows from it instead of keeping it, because it
 * may run twice.
 */

import { ROW_BYTES } from "./checkpoint.ts";
import { applyEffects, insertMessage } from "./effects.ts";
import { PorterEngine } from "./engine_porter.ts";
import { nextTurn, scanDown } from "./scan.ts";
import type {
  AttemptRow,
  DkimKeyRow,
  EffectsRow,
  EventRow,
  IdempotencyRow,
  JobDropRow,
  NewMessageRow,
  StsPolicyRow,
  SuppressionFilterRow,
  SuppressionRow,
} from "./rows.ts";
import type { CarrierName, JobState, SubmitResult } from "./types.ts";
import type { OutboundVerbs, RowPage, RowQuery } from "./verbs.ts";

/** Jobs looked at between two turns of the event loop: 2 to 4 ms. */
const UNSENT_STEP = 2_000;
const UNSENT_STATES: readonly JobState[] = ["pending", "held"];

interface Submitted {
  result: SubmitResult;
  carriers: CarrierName[];
}

export class OutboundEngine extends PorterEngine implements OutboundVerbs {
  /** The key is looked up in the transaction that writes it: of two at once the second one finds the first's. */
  async submit(row: NewMessageRow, key: IdempotencyRow | null, now: number): Promise<SubmitResult> {
    const { result } = await this.commits.write<Submitted>({
      what: "store the message",
      run: (tables) => {
        const known = key && tables.idempotency.get(key.key, now);
        if (known && known.body_hash !== key.body_hash) return { result: { kind: "conflict" }, carriers: [] };
        if (known) return { result: { kind: "repeated", answer: known.answer }, carriers: [] };
        const carriers = insertMessage(tables, row) ?? [];
        if (key) tables.idempotency.put(key, now);
        return { result: { kind: "stored" }, carriers };
      },
      committed: ({ result, carriers }) => {
        if (result.kind === "stored") this.wrote(row.head.byteLength + (row.body?.byteLength ?? 0));
        this.madePending(carriers);
      },
    });
    return result;
  }

  async recallKey(key: string, now: number): Promise<IdempotencyRow | null> {
    return this.read("look for a key", ({ idempotency }) => idempotency.get(key, now));
  }

  /** In flight is looked up when the write runs. */
  async dropJobs(drops: JobDropRow[]): Promise<number> {
    const { count } = await this.commits.write({
      what: "drop jobs",
      run: (tables) => {
        const dropped = drops.filter(({ jobId, state }) => {
          return !this.claims.has(jobId) && tables.jobs.drop(jobId, state);
        });
        return {
          count: dropped.length,
          carriers: dropped.flatMap(({ effects }) => applyEffects(tables, effects)),
        };
      },
      committed: ({ count, carriers }) => {
        // The job, its event, and the webhook that tells of it.
        this.wrote(count * 3 * ROW_BYTES);
        this.madePending(carriers);
      },
    });
    return count;
  }

  async listAttempts(jobId: string): Promise<AttemptRow[]> {
    return this.read("list attempts", ({ attempts }) => attempts.list(jobId));
  }

  /** What is delivered is never looked at, and what is pending only a step at a time. */
  async countUnsent(domain: string, before: number): Promise<number> {
    let count = 0;
    for (const state of UNSENT_STATES) {
      let place: number | null = Number.MAX_SAFE_INTEGER;
      while (place !== null) {
        const below: number = place;
        const step = this.read(
          "count jobs",
          ({ jobs }) => jobs.unsent(state, below, domain, before, UNSENT_STEP),
        );
        count += step.unsent;
        place = step.last;
        await nextTurn();
      }
    }
    return count;
  }

  async listEvents(messageId: string | null, after: number, limit: number): Promise<EventRow[]> {
    return this.read("list events", ({ events, messages }) => {
      if (messageId === null) return events.list(null, after, limit);
      const seq = messages.seqOf(messageId);
      return seq === null ? [] : events.list(seq, after, limit);
    });
  }

  async addEffects(effects: EffectsRow): Promise<void> {
    await this.commits.write({
      what: "store events",
      run: (tables) => applyEffects(tables, effects),
      committed: (carriers) => this.madePending(carriers),
    });
  }

  async listSuppressions(
    filter: SuppressionFilterRow,
    query: RowQuery,
  ): Promise<RowPage<SuppressionRow>> {
    const what = "list suppressions";
    return await scanDown({
      newestBelow: (before) => this.read(what, ({ suppressions }) => suppressions.newestBelow(before)),
      slice: (...range) => this.read(what, ({ suppressions }) => suppressions.slice(filter, ...range)),
      direct: filter.address !== null || filter.reason === null,
    }, query);
  }

  async findSuppressed(addresses: string[]): Promise<SuppressionRow[]> {
    return this.read(
      "look for suppressions",
      ({ suppressions }) =>
        addresses.map((address) => suppressions.find(address)).filter((row) => row !== null),
    );
  }

  addSuppression(row: SuppressionRow): Promise<boolean> {
    return this.commits.write({
      what: "add a suppression",
      run: ({ suppressions }) => suppressions.add(row),
    });
  }

  removeSuppression(address: string): Promise<boolean> {
    return this.commits.write({
      what: "remove a suppression",
      run: ({ suppressions }) => suppressions.remove(address),
    });
  }

  async listDkimKeys(domain: string | null): Promise<DkimKeyRow[]> {
    return this.read("list DKIM keys", ({ dkimKeys }) => dkimKeys.list(domain));
  }

  addDkimKeys(rows: DkimKeyRow[]): Promise<boolean> {
    return this.commits.write({ what: "add DKIM keys", run: ({ dkimKeys }) => dkimKeys.add(rows) });
  }

  updateDkimKeys(rows: DkimKeyRow[]): Promise<void> {
    return this.commits.write({ what: "update DKIM keys", run: ({ dkimKeys }) => dkimKeys.update(rows) });
  }

  async getStsPolicy(domain: string): Promise<StsPolicyRow | null> {
    return this.read("read an MTA-STS policy", ({ stsPolicies }) => stsPolicies.get(domain));
  }

  putStsPolicy(row: StsPolicyRow): Promise<void> {
    return this.commits.write({
      what: "store an MTA-STS policy",
      run: ({ stsPolicies }) => stsPolicies.put(row),
    });
  }
}
