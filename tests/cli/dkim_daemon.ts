/** The command line against the real HTTP door on a control socket, with real keys and DNS behind it. */

import type { DkimBench } from "../outbound/dkim_support.ts";
import { withDkim } from "../outbound/dkim_support.ts";
import { withDoor } from "../servers/http/harness.ts";
import { gomail, type Ran } from "./support.ts";

export interface ControlBench extends DkimBench {
  run(args: string): Promise<Ran>;
}

export function withControlDoor(use: (bench: ControlBench) => Promise<void>): Promise<void> {
  return withDkim({}, (bench) =>
    withDoor({ deps: { dkim: bench.dkim } }, (h) => {
      const env = { MAIL_CONTROL_SOCKET: h.control, MAIL_CONFIG: "/dev/null" };
      return use({ ...bench, run: (args) => gomail(args, { env }) });
    }));
}
