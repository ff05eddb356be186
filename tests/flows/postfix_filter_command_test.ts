/**
 * `gomail postfix`: a real Postfix in front as before-queue filter. Mail goes through both ways with the client's
 * true address, our own mail goes out, the check agrees until something is changed, and the undo leaves what was
 * there before.
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { hasPostfix } from "../support/postfix.ts";
import {
  BAD_CLIENT,
  checks,
  GOOD_CLIENT,
  hello,
  outgoing,
  refusals,
  send,
  setUp,
  undo,
  webhook,
  withPlainPostfix,
} from "../support/postfix_command.ts";
import { testIf } from "../support/test.ts";
import { until } from "../support/until.ts";

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "gomail postfix puts a real Postfix in front as before-queue filter, checks it, and takes it away",
  () =>
    withPlainPostfix(async (setup) => {
      const { d, postfix } = setup;
      const added = await d.api("/v1/domains", {
        method: "POST",
        body: JSON.stringify({ domain: "added.example" }),
        headers: { "content-type": "application/json" },
      });
      assertEquals(added.status, 201);
      const before = await postfix.settings();
      await setUp(setup, "");
      assertStringIncludes(await postfix.postconf("-n"), "relay_domains = example.com, added.example\n");

      await send(postfix.port25, GOOD_CLIENT, "filtered", ["bob@example.com", "info@added.example"]);
      const { connection, authentication, recipients } = await webhook(d, "filtered");
      assertEquals([connection.client_address, authentication.spf.result], [GOOD_CLIENT, "pass"]);
      assertEquals(recipients, ["bob@example.com", "info@added.example"]);
      await send(postfix.port25, BAD_CLIENT, "forged", ["bob@example.com"], {
        final: /^550 5\.7\.1 .*DMARC/,
      });
      await refusals(setup);
      await outgoing(setup);

      const c = await hello(postfix.port25, GOOD_CLIENT);
      const tls = await c.startTls();
      assertMatch(tls.getProtocol() ?? "", /^TLSv1\.[23]$/);
      await c.close();
      // OpenSSL's client still speaks it, when asked to.
      const args = ["s_client", "-starttls", "smtp", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
      await new Deno.Command("openssl", { args: [...args, "-connect", postfix.port25], stdin: "null" })
        .output();
      await until(async () => /unsupported protocol/.test(await postfix.log()), "TLS 1.1 to be refused");

      await checks(setup, "");
      await undo(setup, before);
    }),
);
