/** Every command of every runbook does what it says, against a daemon to which all of that has happened. */

import { assert, assertEquals } from "@std/assert";
import { readRunbooks } from "../monitoring/runbooks.ts";
import { hasProgram } from "../support/program.ts";
import { testIf } from "../support/test.ts";
import { until } from "../support/until.ts";
import { CommandHost } from "./host.ts";
import { happen, withWorld } from "./world.ts";

/** Programs of the host that commands are made with. */
const PROGRAMS = ["bash", "curl", "openssl", "ss", "findmnt", "promtool"];
const missing = PROGRAMS.filter((name) => !hasProgram(name));

const runbooks = await readRunbooks();

testIf(
  missing.length === 0,
  `no ${missing.join(", no ")}`,
  "every command of every runbook does what it says",
  () =>
    withWorld(async (d, smarthost) => {
      await happen(d);
      const jobs = (query: string) => d.api(`/v1/queue?${query}`).then(({ json }) => json.items);
      await until(async () => (await jobs("carrier=smtp&state=pending")).length > 0, "a mail that waits");
      await until(async () => (await jobs("carrier=webhook&state=dead")).length > 0, "a dead letter");
      const words = {
        JOB: (await jobs("carrier=smtp&state=pending"))[0].id,
        ID: (await d.api("/v1/messages?direction=inbound")).json.items[0].id,
        DOMAIN: "example.com",
        CLIENT: "198.51.100.99",
      };
      const host = await CommandHost.make(d, smarthost, words);
      // Somebody to be let in again.
      assertEquals((await host.type("gomail ban add CLIENT")).code, 0);
      const wrong: string[] = [];
      const done = new Set<string>();
      for (const { name, commands } of runbooks) {
        for (const { text, mayEndWith } of commands) {
          if (done.has(text)) continue;
          done.add(text);
          const { code, out, err } = await host.type(text);
          if (!mayEndWith.includes(code)) {
            wrong.push(`${name}: ${text}\nends with ${code}: ${out.slice(0, 500)}${err}`);
          }
        }
      }
      assertEquals(wrong.join("\n"), "");
      assert(done.size > 80, `only ${done.size} commands`);
    }),
);
