/** Prometheus's own judge plays hours of series for each alert: it fires when it shall, and not before. */

import { hasProgram } from "../support/program.ts";
import { testIf } from "../support/test.ts";
import { ALERT_CASES, good } from "../monitoring/support.ts";

for (const path of ALERT_CASES) {
  testIf(
    hasProgram("promtool"),
    "no promtool",
    `promtool finds the alerts of ${path.split("/").pop()} firing and silent`,
    async () => {
      await good("promtool", ["test", "rules", path]);
    },
  );
}
