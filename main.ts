/** GoMail's entry: hands the arguments to the front desk and exits with its code. */

import { main } from "./src/cli/mod.ts";

if (import.meta.main) Deno.exitCode = await main(Deno.args);
