/** GoMail's entry: hands the arguments to the front desk and exits with its code. */

import { main } from "./src/cli/mod.ts";

// Exits even where a write to a reader that stalled is still under way.
if (import.meta.main) Deno.exit(await main(Deno.args));
