/**
 * "Did you mean": the known word closest to a mistyped one, by optimal string alignment distance (insert,
 * delete, replace, swap neighbours), which is how fingers slip.
 */

/** Longer words are not compared: the cost is the product of both lengths, and nobody mistypes that much. */
const WORD_CHARS_MAX = 64;

/** Edits from `a` to `b`. */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) best = Math.min(best, beforeLast[j - 2]! + 1);
      row.push(best);
    }
    beforeLast = last;
    last = row;
  }
  return last[b.length]!;
}

/**
 * The closest candidate, or null where none is close enough to be meant: a third of the word may be wrong.
 */
export function nearest(word: string, candidates: Iterable<string>): string | null {
  if (word.length > WORD_CHARS_MAX) return null;
  const distanceMax = Math.max(1, Math.floor(word.length / 3));
  let found: string | null = null;
  let foundDistance = distanceMax + 1;
  for (const candidate of candidates) {
    if (Math.abs(candidate.length - word.length) >= foundDistance) continue;
    const distance = editDistance(word.toLowerCase(), candidate);
    if (distance < foundDistance) {
      found = candidate;
      foundDistance = distance;
    }
  }
  return found;
}
