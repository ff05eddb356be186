/** `gomail postfix --postscreen`: postscreen on port 25 before everything else, put there and taken away. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { hasPostfix } from "../support/postfix.ts";
import { GOOD_CLIENT, send, setUp, webhook, withPlainPostfix } from "../support/postfix_command.ts";
import { testIf } from "../support/test.ts";

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "gomail postfix --postscreen puts postscreen on port 25, and its script stops where port 25 is not found",
  () =>
    withPlainPostfix(async (setup) => {
      const { d, postfix, command } = setup;
      const before = await postfix.settings();
      const other = await postfix.sh(
        (await command("")).out.replaceAll(`${postfix.port25}/inet`, "smtp/inet"),
      );
      assertEquals(other.code, 1);
      assertStringIncludes(other.err, "Cannot find smtpd as smtp/inet in master.cf: name what has port 25");
      assertEquals(await postfix.settings(), before);

      await setUp(setup, "--postscreen");
      await send(postfix.port25, GOOD_CLIENT, "screened", ["bob@example.com"]);
      assertEquals((await webhook(d, "screened")).connection.client_address, GOOD_CLIENT);
      const good = await command("--check --postscreen", await postfix.settings());
      assertEquals([good.code, good.err], [0, ""], good.out);
      const without = await command("--check", await postfix.settings());
      assertEquals(without.code, 1);
      assertStringIncludes(without.out, "gomail postfix --postscreen");
      const printed = await command("--undo --postscreen");
      assertEquals((await postfix.sh(printed.out)).code, 0);
      const sorted = (text: string) => text.replaceAll(/ +/g, " ").split("\n").sort();
      assertEquals(sorted(await postfix.settings()), sorted(before));
    }),
);
