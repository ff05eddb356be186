/** `gomail postfix --lmtp`: a real Postfix in front with its queue, also where it was the filter before. */

import { assert, assertEquals } from "@std/assert";
import { hasPostfix } from "../support/postfix.ts";
import {
  BAD_CLIENT,
  checks,
  GOOD_CLIENT,
  outgoing,
  refusals,
  send,
  setUp,
  undo,
  webhook,
  withPlainPostfix,
} from "../support/postfix_command.ts";
import { testIf } from "../support/test.ts";

testIf(
  await hasPostfix(),
  "Postfix is not installed",
  "gomail postfix --lmtp puts a real Postfix in front with its queue, also where the filter was before",
  () =>
    withPlainPostfix(async (setup) => {
      const { d, postfix, command } = setup;
      // What somebody had set before comes back, in both files.
      const own = "postconf -e smtpd_tls_security_level=may 'relay_domains = old.example, $x' x='a  b'\n" +
        `postconf -P '${postfix.port25}/inet/smtpd_proxy_filter=127.0.0.1:1'\n`;
      assertEquals((await postfix.sh(own)).code, 0);
      const before = await postfix.settings();
      assertEquals((await postfix.sh((await command("")).out)).code, 0);
      assertEquals((await command("--check --lmtp", await postfix.settings())).code, 1);
      await setUp(setup, "--lmtp");

      await send(postfix.port25, GOOD_CLIENT, "queued", ["bob@example.com"]);
      const queued = await webhook(d, "queued");
      assertEquals([queued.verdict, queued.connection.client_address], ["accept", GOOD_CLIENT]);
      assert((await d.raw(queued.id)).includes(" with LMTP\r\n"));
      await send(postfix.port25, BAD_CLIENT, "queued and forged", ["bob@example.com"]);
      const marked = await webhook(d, "queued and forged");
      assertEquals([marked.verdict, marked.connection.client_address], ["quarantine", BAD_CLIENT]);
      await refusals(setup);
      await outgoing(setup);

      await checks(setup, "--lmtp");
      await undo(setup, before);
    }),
);
