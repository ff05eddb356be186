/** A store with something in everything, and the command line that means it. */

import { withTempDir } from "../support/test.ts";
import { makeStore } from "../store/backup/support.ts";
import { gomail, type Ran } from "./support.ts";

export interface StorePlace {
  /** The store is in `data` below it. */
  dir: string;
  /** `gomail` with that store's settings; `@` stands for the directory. */
  run: (args: string) => Promise<Ran>;
}

export function withStore(fn: (place: StorePlace) => Promise<void>): Promise<void> {
  return withTempDir(async (dir) => {
    await makeStore(`${dir}/data`);
    const env = { MAIL_CONFIG: "/dev/null", MAIL_DATA_DIR: `${dir}/data`, MAIL_DISK_RESERVE: "0" };
    await fn({ dir, run: (args) => gomail(args.replaceAll("@", dir), { env }) });
  });
}
