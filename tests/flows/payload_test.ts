/** What the app gets and fetches: large mail by signed URLs, and each route its own recipients. */

import { assert, assertEquals } from "@std/assert";
import { newWebhookSecret } from "../../src/base/secret.ts";
import { startReceiver } from "../../src/cli/demo/receiver.ts";
import { signPath } from "../../src/events/signed_url.ts";
import { idOf, latin1, payloadOf, plainMail, withDaemon } from "../support/harness.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

const LARGE_BYTES = 5 * 1024 * 1024;

/** Random, so that nothing compresses or repeats by chance. */
function largeMail(): string {
  const bytes = new Uint8Array(LARGE_BYTES * 3 / 4);
  for (let i = 0; i < bytes.length; i += 65_536) crypto.getRandomValues(bytes.subarray(i, i + 65_536));
  const lines = bytes.toBase64().replace(/(.{76})/g, "$1\r\n");
  const head = { "MIME-Version": "1.0", "Content-Type": "application/octet-stream; name=big.bin" };
  return plainMail({ ...head, "Content-Transfer-Encoding": "base64" }, lines + "\r\n");
}

test("A 5 MB mail comes as a URL that works without a token, for that mail and that time only", () =>
  withDaemon({}, async (d) => {
    const mail = largeMail();
    const payload = await d.sendAndHear(mail);
    assertEquals([payload.raw, payload.raw_base64], [undefined, undefined]);
    const url = payload.raw_url!;
    const fetched = await d.fetch(url);
    assertEquals(fetched.status, 200);
    const raw = latin1(fetched.bytes);
    assert(raw.endsWith(mail) && raw.startsWith("Authentication-Results: mx.example.com;"));
    assertEquals(raw, await d.raw(payload.id));

    const other = idOf(await d.send());
    const changed = (from: string | RegExp, to: string) => url.replace(from, to);
    const signature = new URL(url).searchParams.get("signature")!;
    const swapped = signature.startsWith("A") ? "B" : "A";
    const wrong = [
      changed(signature, swapped + signature.slice(1)),
      changed(signature, ""),
      changed(payload.id, other),
      changed(/expires=\d+/, "expires=9999999999"),
      changed("/raw?", "/attachments/0?"),
    ];
    for (const bad of wrong) assertEquals((await d.fetch(bad)).status, 403, bad);
    assertEquals((await d.fetch(`/v1/messages/${payload.id}/raw`)).status, 401);

    // Ours in every way, but of yesterday.
    const key = (await Deno.readTextFile(`${d.dir}/data/url_key`)).trim();
    const path = `/v1/messages/${payload.id}/raw`;
    const nowSeconds = Math.floor(Date.now() / 1000);
    assertEquals((await d.fetch(`${path}?${signPath(key, path, nowSeconds + 60)}`)).status, 200);
    assertEquals((await d.fetch(`${path}?${signPath(key, path, nowSeconds - 60)}`)).status, 403);

    const [attachment] = payload.attachments;
    assertEquals(attachment!.filename, "big.bin");
    const content = await d.fetch(attachment!.url!);
    assertEquals([content.status, content.bytes.length], [200, attachment!.size]);
  }));

test("URLs in payloads begin with public_url, and webhook_inline_max decides who gets one", () =>
  withDaemon({ public_url: "https://mail.example.com/base/", webhook_inline_max: 1024 }, async (d) => {
    const small = await d.sendAndHear(plainMail());
    assertEquals([typeof small.raw, small.raw_url], ["string", undefined]);
    const large = await d.sendAndHear(plainMail({}, "line\r\n".repeat(1000)));
    assert(large.raw_url!.startsWith(`https://mail.example.com/base/v1/messages/${large.id}/raw?expires=`));
  }));

test("Each route gets one webhook with its own recipients, under its own id and secret", async () => {
  const secret = newWebhookSecret();
  const sales = await startReceiver({ secret });
  const outgoing = await startReceiver();
  const routes = [
    { match: "Sales@example.com", url: sales.url, secret },
    { match: "*@second.example", url: sales.url, secret },
    { match: "out@example.com", url: outgoing.url, events: ["mail.delivered" as const] },
  ];
  try {
    await withDaemon({ routes, additional_domains: ["second.example"] }, async (d) => {
      const to = [
        "bob@example.com",
        "sales@example.com",
        "x@second.example",
        "y@second.example",
        "carol@example.com",
      ];
      const id = idOf(await d.send(plainMail(), { to: [...to, "out@example.com"] }));
      await Promise.all([sales.waitFor(2), d.receiver.waitFor(1)]);
      const bySales = sales.requests.map((request) => payloadOf(request).recipients);
      const byRoute = bySales.sort((a, b) => a.length - b.length);
      assertEquals(byRoute, [["sales@example.com"], ["x@second.example", "y@second.example"]]);
      assertEquals((await d.payload(id)).recipients, ["bob@example.com", "carol@example.com"]);
      const all = [...sales.requests, ...d.receiver.requests];
      assertEquals(new Set(all.map((request) => request.headers["webhook-id"])).size, 3);
      assert(all.every((request) => request.verified));
      // That route wants other events only; the mail is kept all the same.
      assertEquals(outgoing.count, 0);
      await until(async () => (await d.jobs(id)).every((job) => job.state === "delivered"), "the deliveries");
      assertEquals((await d.jobs(id)).length, 3);
    });
  } finally {
    await sales.close();
    await outgoing.close();
  }
});
