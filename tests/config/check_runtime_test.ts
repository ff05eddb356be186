import { assertEquals, assertMatch } from "@std/assert";
import { checkRuntime } from "../../src/config/check_runtime.ts";
import { Findings } from "../../src/config/findings.ts";
import { test } from "../support/test.ts";

type Asked = Parameters<typeof checkRuntime>[0];

const findings = (config: Partial<Asked>, able: boolean) => {
  const found = new Findings(new Map());
  const quiet: Asked = {
    mode: "simple",
    tls_enabled: false,
    starttls_enabled: false,
    outbound_transport: "postfix",
  };
  checkRuntime({ ...quiet, ...config }, found, { serverTls: able, handedSockets: able, clientTls: able });
  return found;
};
const problems = (config: Partial<Asked>, able: boolean) => findings(config, able).problems;

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

test("a runtime that can't do TLS as a client warns of direct delivery", () => {
  assertEquals(findings({ outbound_transport: "direct" }, true).warnings, []);
  const [warning] = findings({ outbound_transport: "direct" }, false).warnings;
  assertMatch(`${warning?.path} ${warning?.problem}`, /^outbound_transport works without encryption alone: /);
});
