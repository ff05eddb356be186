/** Work on a list, a few items at once: results in the list's order, and no more in flight than was asked for. */

/** Rejects with the first failure; what is in flight then still ends, and nothing new is begun. */
export async function mapAtOnce<T, R>(
  items: readonly T[],
  atOnceMax: number,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  let failed = false;
  const walk = async () => {
    while (next < items.length && !failed) {
      const index = next++;
      try {
        results[index] = await work(items[index]!, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnceMax, items.length) }, walk));
  return results;
}
