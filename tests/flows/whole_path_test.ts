import { test } from "../support/test.ts";
import { withDaemon } from "../support/harness.ts";
test("probe", () => withDaemon({}, async (d) => {
  const p = await d.sendAndHear();
  console.log(JSON.stringify(p.authentication.spf), p.verdict, await d.raw(p.id));
}));
test("probe2", () => withDaemon({}, async (d) => {
  const p = await d.sendAndHear();
  console.log(JSON.stringify(p.authentication.spf), p.verdict);
}));
