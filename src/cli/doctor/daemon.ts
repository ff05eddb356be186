/** The daemon: whether it answers on its control socket, and what it says of its own health. */

import { VERSION } from "../../base/version.ts";
import type { Check } from "./check.ts";
import { remedyFor } from "./health.ts";
import { NAME_SERVERS, type Upkeep } from "./upkeep.ts";

/** What to type, by the name of the check in /health. */
const remediesOf = ({ log, restart, start }: Upkeep): Record<string, string> => ({
  store: `${log} says why`,
  disk: "`df -h` shows the disk of data_dir: make room there",
  control: restart,
  smtp: `the ports check says what to do, and ${log}`,
  tls: `the certificate check says what to do, and ${log}`,
  dns: `${NAME_SERVERS}; name others in dns_servers`,
  delivery: "`gomail queue list --state pending` shows the receivers' answers",
  outbound: "the port25 check says whether outbound_smarthost answers; `gomail queue list --carrier smtp`",
  lifecycle: `${start}, once it has stopped`,
});

function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`;
}

export const daemonCheck: Check = {
  name: "daemon",
  async run(subject, say) {
    const { upkeep } = subject;
    const answer = await subject.daemon;
    if (answer.health === null && !answer.isAsked) {
      return say.unknown("answers", answer.reason, remedyFor(answer, upkeep));
    }
    if (answer.health === null) {
      return say.problem("answers", answer.reason, `${upkeep.start}; ${upkeep.log} says why it ended`);
    }
    const { version, uptime, checks } = answer.health;
    say.ok("answers", `gomail ${version} answers, up for ${duration(uptime)}`);
    if (version !== VERSION) {
      say.notice("version", `runs version ${version}, and this is ${VERSION}`, upkeep.restart);
    }
    const remedies = remediesOf(upkeep);
    const all = Object.entries(checks);
    for (const [name, check] of all) {
      if (check!.status === "ok") continue;
      const detail = check!.detail || check!.status;
      say.problem("health", `${name}: ${detail}`, remedies[name] ?? `${upkeep.log} says more`);
    }
    const fine = all.filter(([, check]) => check!.status === "ok").map(([name]) => name);
    if (fine.length > 0) say.ok("health", `in order: ${fine.join(", ")}`);
  },
};
