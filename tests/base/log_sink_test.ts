import { assert, assertEquals } from "@std/assert";
import { createLogSink } from "../../src/base/log_sink.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const decoder = new TextDecoder();

test("lines are written whole and in order, whatever a single write takes", async () => {
  let out = "";
  const write = async (bytes: Uint8Array) => {
    const some = bytes.subarray(0, 3);
    out += decoder.decode(some);
    return some.length;
  };
  const sink = createLogSink({ write, clock: new FakeClock() });
  sink.push("first line\n");
  sink.push("second line\n");
  await sink.end(1_000);
  assertEquals(out, "first line\nsecond line\n");
});

test("a reader that stalls costs lines and not the daemon, and the loss is told when it reads again", async () => {
  let out = "";
  let goOn = () => {};
  let stalled = true;
  const write = async (bytes: Uint8Array) => {
    if (stalled) await new Promise<void>((resolve) => goOn = resolve);
    out += decoder.decode(bytes);
    return bytes.length;
  };
  const sink = createLogSink({ write, clock: new FakeClock(), waitingBytesMax: 100 });
  for (let i = 0; i < 50; i++) sink.push(`line ${i} of many\n`);
  await settle();
  assertEquals(out, "");
  stalled = false;
  goOn();
  await settle();
  sink.push("afterwards\n");
  await sink.end(1_000);
  assert(out.startsWith("line 0 of many\n") && out.endsWith("afterwards\n"));
  assert(/"msg":"Log lines were lost","lines":4\d/.test(out), out);
});

test("a reader that is gone is tried again once a second, and nothing is thrown", async () => {
  const clock = new FakeClock();
  let tries = 0;
  let gone = true;
  let out = "";
  const write = async (bytes: Uint8Array) => {
    tries++;
    if (gone) throw new Deno.errors.BrokenPipe("EPIPE");
    out += decoder.decode(bytes);
    return bytes.length;
  };
  const sink = createLogSink({ write, clock });
  for (let i = 0; i < 1_000; i++) {
    sink.push("x\n");
    await Promise.resolve();
  }
  await settle();
  assert(tries < 5, `${tries} tries`);
  gone = false;
  await clock.advance(1_001);
  sink.push("back\n");
  await sink.end(1_000);
  assert(out.includes("Log lines were lost") && out.endsWith("back\n"));
});

test("end() does not wait longer than it is told", async () => {
  const clock = new FakeClock();
  const sink = createLogSink({ write: () => new Promise(() => {}), clock });
  sink.push("never\n");
  let ended = false;
  sink.end(500).then(() => ended = true);
  await clock.advance(500);
  assert(ended);
});
