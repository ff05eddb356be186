/** Real clients at the real door: nodemailer, and swaks where it is installed. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import nodemailer from "nodemailer";
import { test, testIf, withTempDir } from "../../support/test.ts";
import { withDoor } from "./harness.ts";

function installed(name: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((dir) => {
    try {
      return Deno.statSync(`${dir}/${name}`).isFile;
    } catch {
      // Not in this one.
      return false;
    }
  });
}

test("nodemailer sends a mail with an attachment over STARTTLS", () =>
  withTempDir((data_dir) =>
    withDoor(
      { config: { tls_enabled: true, starttls_enabled: true, data_dir } },
      async ({ listeners, flow }) => {
        const port = Number(listeners[0]!.address!.split(":")[1]);
        const transport = nodemailer.createTransport({
          host: "127.0.0.1",
          port,
          requireTLS: true,
          tls: { rejectUnauthorized: false },
          disableFileAccess: true,
          disableUrlAccess: true,
        });
        const content = "line one\n.\n..\nlast line\n".repeat(500);
        const info = await transport.sendMail({
          from: "Alice <alice@sender.example>",
          to: ["bob@example.com", "carol@example.com"],
          subject: "Grüße",
          text: ".\n..\n.end",
          attachments: [{ filename: "a.txt", content }],
        });
        transport.close();
        assertStringIncludes(info.response, "250 2.0.0 Ok: queued as M1");
        const { submission, text } = flow.mails[0]!;
        assertEquals(submission.envelope.recipients, ["bob@example.com", "carol@example.com"]);
        assertEquals(submission.connection.tls?.version, "TLSv1.3");
        assertStringIncludes(text, "filename=a.txt");
        assertStringIncludes(text, "\r\n.\r\n..\r\n.end\r\n");
      },
    )
  ));

testIf(
  installed("swaks"),
  "swaks is not installed",
  "swaks sends a mail",
  () =>
    withDoor({}, async ({ listeners, flow }) => {
      const swaks = new Deno.Command("swaks", {
        args: [
          "--server",
          listeners[0]!.address!,
          "--from",
          "a@b.example",
          "--to",
          "bob@example.com",
          "--pipeline",
        ],
        stdout: "piped",
        stderr: "piped",
      });
      const { success } = await swaks.output();
      assertEquals([success, flow.mails.length], [true, 1]);
    }),
);
