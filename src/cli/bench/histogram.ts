/**
 * Latencies in bounded memory, as HdrHistogram keeps them: buckets whose width grows with the value, so that every
 * percentile is right to within 1 in 128 from a microsecond to 19 hours, however many values there were. A list of
 * all of them would be the largest thing in a soak's memory.
 */

/** Buckets for each doubling: 128. */
const SUB_BITS = 7;
const SUB_BUCKETS = 2 ** SUB_BITS;
const VALUE_BITS_MAX = 36;
const MICROS_MAX = 2 ** VALUE_BITS_MAX - 1;
const BUCKETS = (VALUE_BITS_MAX - SUB_BITS + 1) * SUB_BUCKETS;

export interface Bucket {
  /** The largest value that counts here. */
  upToMs: number;
  count: number;
}

/** Below 256 each microsecond has a bucket of its own; from there 128 of them share what a doubling is. */
function bucketOf(micros: number): number {
  const shift = Math.max(0, Math.floor(Math.log2(micros || 1)) - SUB_BITS);
  return shift * SUB_BUCKETS + Math.floor(micros / 2 ** shift);
}

/** The largest whole microsecond of a bucket. */
function upperMicros(bucket: number): number {
  const shift = Math.max(0, Math.floor(bucket / SUB_BUCKETS) - 1);
  return (bucket - shift * SUB_BUCKETS + 1) * 2 ** shift - 1;
}

export class Histogram {
  readonly #counts = new Uint32Array(BUCKETS);
  #count = 0;
  #maxMicros = 0;

  get count(): number {
    return this.#count;
  }

  get maxMs(): number {
    return this.#maxMicros / 1000;
  }

  /** Negative values, which clocks of two processes can make, are 0. */
  record(ms: number): void {
    const micros = Math.min(MICROS_MAX, Math.max(0, Math.round(ms * 1000)));
    const bucket = bucketOf(micros);
    this.#counts[bucket] = this.#counts[bucket]! + 1;
    this.#count++;
    this.#maxMicros = Math.max(this.#maxMicros, micros);
  }

  /** The smallest value, to within a bucket, that so many percent (0 to 100) don't exceed; null without values. */
  percentile(percent: number): number | null {
    if (this.#count === 0) return null;
    const rank = Math.min(this.#count, Math.max(1, Math.ceil(this.#count * percent / 100)));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket]!;
      if (seen >= rank) return Math.min(upperMicros(bucket), this.#maxMicros) / 1000;
    }
    return this.maxMs;
  }

  /** Those that have values, smallest first. */
  buckets(): Bucket[] {
    const found: Bucket[] = [];
    this.#counts.forEach((count, bucket) => {
      if (count > 0) found.push({ upToMs: Math.min(upperMicros(bucket), this.#maxMicros) / 1000, count });
    });
    return found;
  }
}
