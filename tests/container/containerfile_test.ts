/** A Containerfile that is replayed is replayed whole: what is not understood is an error. */

import { assertEquals, assertThrows } from "@std/assert";
import { test } from "../support/test.ts";
import { readContainerfile } from "./containerfile.ts";

test("A Containerfile's steps come out in order, with continued lines as one", () => {
  const text =
    "# about\nFROM debian:bookworm-slim\n\nRUN --mount=type=bind,target=/in a \\\n  && b\nRUN c\n" +
    'WORKDIR /w\nENV A=b=c\nUSER 1:2\nEXPOSE 25\nSTOPSIGNAL SIGINT\nENTRYPOINT ["/x"]\nCMD ["y"]\n';
  assertEquals(readContainerfile(text), {
    from: "debian:bookworm-slim",
    runs: [{ command: "a   && b", contextAt: "/in" }, { command: "c", contextAt: null }],
    config: {
      env: { A: "b=c" },
      user: "1:2",
      workdir: "/w",
      stopSignal: "SIGINT",
      entrypoint: ["/x"],
      cmd: ["y"],
    },
  });
});

test("A step that can't be replayed is an error", () => {
  const wrong = [
    "ADD a /b",
    "RUN --network=none a",
    "ENV A b",
    "USER 1\nRUN a",
    "from debian",
    "ENTRYPOINT /bin/x",
  ];
  for (const step of wrong) {
    assertThrows(() => readContainerfile(`FROM a\n${step}\n`), Error);
  }
});
