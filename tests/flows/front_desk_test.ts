/** The commands against a running daemon, over its real control socket, as an operator uses them. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { gomail } from "../cli/support.ts";
import { idOf, latin1, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const commands = (d: TestDaemon) => {
  const env = { MAIL_CONTROL_SOCKET: d.daemon.addresses.control, MAIL_CONFIG: "/dev/null" };
  return (...args: string[]) => gomail(args, { env });
};

test("message list, show, raw and replay tell of a mail what the API tells", () =>
  withDaemon({}, async (d) => {
    const run = commands(d);
    const { id } = await d.sendAndHear(plainMail({ Subject: "For the operator" }));
    const list = await run("message", "list");
    assertEquals(list.code, 0);
    assert(list.out.includes(id) && list.out.includes("For the operator"), list.out);
    const shown = JSON.parse((await run("message", "show", id, "--json")).out);
    assertEquals([shown.id, shown.verdict], [id, "accept"]);
    assertEquals(latin1((await run("message", "raw", id)).bytes), await d.raw(id));
    assertEquals((await run("message", "replay", id)).code, 0);
    await until(() => d.webhooks(id).length === 2, "the replay");
    const unknown = await run("message", "show", "0".repeat(26));
    assertEquals([unknown.code, unknown.err.trimEnd().split("\n").length], [1, 1]);
  }));

test("queue hold, release and drop move what is owed", () =>
  withDaemon({}, async (d) => {
    const run = commands(d);
    d.receiver.answerWith(() => ({ status: 500 }));
    const id = idOf(await d.send());
    await until(async () => (await d.jobs(id))[0]?.attempts === 1, "the first attempt");
    assertEquals((await run("queue", "hold", "--message", id)).code, 0);
    assertEquals((await d.jobs(id))[0].state, "held");
    d.receiver.answerWith(() => ({ status: 200 }));
    assertMatch((await run("queue", "release", "--message", id, "--dry-run")).out, /1/);
    assertEquals((await d.jobs(id))[0].state, "held");
    await run("queue", "release", "--message", id);
    await run("queue", "retry", "--message", id);
    await until(async () => (await d.jobs(id))[0].state === "delivered", "the delivery");
    assertEquals((await run("queue", "list")).err, "the queue is empty\n");
    assertMatch((await run("queue", "list", "--state", "all")).out, /delivered/);
  }));

test("domain add takes mail at once, until it is removed", () =>
  withDaemon({}, async (d) => {
    const run = commands(d);
    const to = ["info@new.example"];
    assertEquals((await d.post(plainMail(), { to })).status, 422);
    assertEquals((await run("domain", "add", "new.example", "--recipient", "info")).code, 0);
    await d.sendAndHear(plainMail(), { to });
    await d.sendAndHear(plainMail(), { to: ["postmaster@new.example"] });
    const other = await d.post(plainMail(), { to: ["other@new.example"] });
    assertEquals([other.status, other.json.details.smtp_code], [422, 550]);
    assertMatch((await run("domain", "list")).out, /new\.example/);
    assertEquals((await run("domain", "remove", "new.example")).code, 0);
    assertEquals((await d.post(plainMail(), { to })).status, 422);
    assertEquals((await run("domain", "remove", "example.com")).code, 1);
  }));
