/** What is said about ports that can't be had: commands for the case at hand. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { busyPortRemedy, forbiddenPortRemedy, mailServerOf } from "../../src/config/busy_port.ts";
import { test } from "../support/test.ts";

test("mail servers are known by greeting and by executable", () => {
  const cases: [string, string | undefined][] = [
    ["220 mx.example.com ESMTP Postfix", "Postfix"],
    ["/usr/lib/postfix/sbin/master", "Postfix"],
    ["/usr/sbin/exim4", "Exim"],
    ["220 mx ESMTP Sendmail 8.17", "Sendmail"],
    ["/usr/sbin/smtpd", "OpenSMTPD"],
    ["220 mx ESMTP GoMail", undefined],
    ["/usr/bin/python3", undefined],
    ["", undefined],
  ];
  for (const [text, name] of cases) assertEquals(mailServerOf(text)?.name, name, text);
});

const HOST = { hasSystemd: true };

test("without systemd nothing is said of units: another port, mapped from outside", () => {
  const inPod = { hasSystemd: false };
  assertEquals(
    forbiddenPortRemedy(25, "smtp_listen", inPod),
    "use a port from 1024 on in smtp_listen, and have 25 mapped to it from outside " +
      "(a Service's targetPort, `podman run --publish`)",
  );
  assertEquals(
    busyPortRemedy(2525, "smtp_listen", inPod),
    "stop what holds it (`ss -ltnp 'sport = :2525'`), or change smtp_listen",
  );
  assertEquals(
    busyPortRemedy(25, "smtp_listen", inPod, mailServerOf("Postfix")),
    "stop Postfix, or change smtp_listen",
  );
});

test("port 25 without a known holder names the usual ones", () => {
  assertEquals(
    busyPortRemedy(25, "smtp_listen", HOST),
    "`ss -ltnp 'sport = :25'` names it. Postfix may stay, in front of GoMail: `gomail postfix` prints how; " +
      "or stop it: `systemctl disable --now postfix` (Exim: `systemctl disable --now exim4`)",
  );
  const forbidden = forbiddenPortRemedy(25, "smtp_listen", HOST);
  assertStringIncludes(forbidden, "systemctl status gomail-smtp.socket");
  assertStringIncludes(forbidden, busyPortRemedy(25, "smtp_listen", HOST));
  assertStringIncludes(forbiddenPortRemedy(587, "smtp_listen", HOST), "from 1024 on");
});
