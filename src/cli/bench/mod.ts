/** `bench`: load for a running instance, and how it took it. */

import type { Command } from "../command.ts";
import { BENCH_FLAGS } from "./options.ts";

export const benchCommand: Command = {
  name: "bench",
  summary: "Sends load to a running instance, and measures how it takes it",
  usage: "[HOST:PORT] [--to ADDRESS] [--profile P] [--rate R] [--size S] [--duration T] [--connections N] " +
    "[--from ADDRESS] [--tls MODE] [--report FILE] [--force] [--yes] [--json]",
  flags: BENCH_FLAGS,
  args: { min: 0, max: 1 },
  examples: [
    "bench",
    "bench --profile seed --report seed.html",
    "bench 127.0.0.1:2525 --to inbox@example.com --rate 20/s --duration 1m",
    "bench mx.example.com:25 --to inbox@example.com --rate 60/min --tls require --yes",
  ],
  async run(invocation) {
    // Sockets, plots and tables, which nothing else needs.
    const { runBench } = await import("./run.ts");
    return await runBench(invocation);
  },
};
