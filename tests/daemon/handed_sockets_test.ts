import { assertEquals } from "@std/assert";
import { handedSockets } from "../../src/daemon/handed_sockets.ts";
import { test } from "../support/test.ts";

const env = (values: Record<string, string>) => (name: string) => values[name];

test("sockets are told apart by their names, whichever unit they came from", () => {
  const found = handedSockets(
    env({
      LISTEN_PID: "7",
      LISTEN_FDS: "4",
      LISTEN_FDNAMES: "gomail-smtp.socket:gomail-control.socket:lmtp:what",
    }),
    7,
  );
  assertEquals(found, {
    smtp: [{ kind: "smtp", fd: 3 }, { kind: "lmtp", fd: 5 }],
    control: 4,
    unknown: ["what"],
  });
});

test("sockets meant for another process, or none at all, are no sockets", () => {
  assertEquals(handedSockets(env({ LISTEN_PID: "8", LISTEN_FDS: "1", LISTEN_FDNAMES: "smtp" }), 7), null);
  assertEquals(handedSockets(env({ LISTEN_PID: "7", LISTEN_FDS: "0" }), 7), null);
  assertEquals(handedSockets(env({ LISTEN_PID: "7", LISTEN_FDS: "many" }), 7), null);
  assertEquals(handedSockets(env({}), 7), null);
});
