/**
 * A map with a maximum: the entry that was used longest ago makes room for a new one. The order of use is a linked
 * list of its own. A Map keeps an order as well, but to find its first entry it steps over the holes that deleted ones
 * left: 50 us for each new key in a flood of them, instead of less than one.
 */

interface Node<K, V> {
  readonly key: K;
  value: V;
  older: Node<K, V> | null;
  newer: Node<K, V> | null;
}

export class RecentMap<K, V> {
  readonly #nodes = new Map<K, Node<K, V>>();
  #oldest: Node<K, V> | null = null;
  #newest: Node<K, V> | null = null;

  constructor(private readonly entriesMax: number) {}

  get size(): number {
    return this.#nodes.size;
  }

  /** The value, which is not thereby used. */
  get(key: K): V | undefined {
    return this.#nodes.get(key)?.value;
  }

  /** What was used longest ago. */
  oldest(): V | undefined {
    return this.#oldest?.value;
  }

  /** Makes it the one that was used last. */
  set(key: K, value: V): void {
    const known = this.#nodes.get(key);
    if (known) {
      known.value = value;
      this.#unlink(known);
      return this.#append(known);
    }
    if (this.#oldest && this.#nodes.size >= this.entriesMax) this.delete(this.#oldest.key);
    const node = { key, value, older: null, newer: null };
    this.#nodes.set(key, node);
    this.#append(node);
  }

  delete(key: K): void {
    const node = this.#nodes.get(key);
    if (!node) return;
    this.#nodes.delete(key);
    this.#unlink(node);
  }

  clear(): void {
    this.#nodes.clear();
    this.#oldest = this.#newest = null;
  }

  #unlink(node: Node<K, V>): void {
    const { older, newer } = node;
    if (older) older.newer = newer;
    else this.#oldest = newer;
    if (newer) newer.older = older;
    else this.#newest = older;
    node.older = node.newer = null;
  }

  #append(node: Node<K, V>): void {
    node.older = this.#newest;
    if (this.#newest) this.#newest.newer = node;
    else this.#oldest = node;
    this.#newest = node;
  }
}
