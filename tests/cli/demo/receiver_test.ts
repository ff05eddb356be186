import { assertEquals, assertRejects } from "@std/assert";
import { sign } from "../../../src/delivery/webhook/sign.ts";
import { startReceiver } from "../../../src/cli/demo/receiver.ts";
import { test } from "../../support/test.ts";

const SECRET = "whsec_" + btoa("0123456789abcdef0123456789abcdef");

test("The receiver says whose signature is good", async () => {
  const receiver = await startReceiver({ secret: SECRET });
  const body = new TextEncoder().encode('{"event":"test"}');
  const timestamp = Math.floor(Date.now() / 1000);
  const post = async (signature: string) => {
    const headers = {
      "webhook-id": "a",
      "webhook-timestamp": String(timestamp),
      "webhook-signature": signature,
    };
    const response = await fetch(receiver.url, { method: "POST", headers, body });
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(await post(sign([SECRET], "a", timestamp, body)), 200);
  assertEquals(await post("v1,bm9wZQ=="), 200);
  assertEquals(receiver.requests.map((request) => request.verified), [true, false]);
  assertEquals(receiver.requests[0]?.body, body);
  await receiver.close();
});

test("waitFor() gives up in the end", async () => {
  const receiver = await startReceiver();
  await assertRejects(() => receiver.waitFor(1, 20), Error, "Cannot see 1 webhooks");
  await receiver.close();
});

test("A delayed answer comes late, and not at all after close()", async () => {
  const receiver = await startReceiver({ answer: () => ({ status: 201, delayMs: 10 }) });
  const response = await fetch(receiver.url);
  await response.body?.cancel();
  assertEquals(response.status, 201);
  receiver.answerWith(() => ({ status: 200, delayMs: 60_000 }));
  const never = assertRejects(() => fetch(receiver.url));
  await receiver.waitFor(2);
  await receiver.close();
  await never;
});
