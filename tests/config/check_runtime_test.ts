import { assertEquals, assertMatch } from "@std/assert";
import { checkRuntime } from "../../src/config/check_runtime.ts";
import { Findings } from "../../src/config/findings.ts";
import { test } from "../support/test.ts";

const problems = (config: Parameters<typeof checkRuntime>[0], serverTls: boolean) => {
  const found = new Findings(new Map());
  checkRuntime(config, found, { serverTls, handedSockets: serverTls });
  return found.problems;
};

test("a runtime that can't serve TLS or take sockets refuses a config that needs it, with the way out", () => {
  const asks = { mode: "socket", tls_enabled: true, starttls_enabled: true } as const;
  assertEquals(problems(asks, true), []);
  const [tls, mode] = problems(asks, false);
  assertMatch(
    `${tls?.path} ${tls?.problem} ${tls?.remedy}`,
    /^tls_enabled cannot work: .* can't serve TLS .*set it to false$/,
  );
  assertMatch(`${mode?.path} ${mode?.problem} ${mode?.remedy}`, /^mode cannot work: .* set mode: simple$/);
  assertEquals(problems({ mode: "simple", tls_enabled: false, starttls_enabled: true }, false), []);
});
