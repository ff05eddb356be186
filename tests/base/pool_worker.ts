/** A worker that does what it is told, bad things included. */

import { serveWorker } from "../../src/base/worker_host.ts";

serveWorker((init) => {
  const { fail } = init as { fail?: boolean };
  if (fail) throw new Error("Cannot start: told to fail");
  return {
    echo: (input) => input,
    init: () => init,
    bytes: () => new Uint8Array([1, 2, 3]),
    throws: () => {
      throw Object.assign(new RangeError("told to throw"), { code: "ETOLD" });
    },
    throwsText: () => {
      throw "just text";
    },
    uncloneable: () => () => {},
    slow: async (input) => {
      await new Promise((resolve) => setTimeout(resolve, input as number));
      return "slow";
    },
    forever: () => new Promise(() => {}),
    hang: () => {
      for (;;);
    },
    crash: () =>
      new Promise(() => {
        setTimeout(() => {
          throw new Error("told to crash");
        });
      }),
    exit: () => self.close(),
  };
});
