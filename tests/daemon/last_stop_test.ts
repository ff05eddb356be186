import { assertEquals } from "@std/assert";
import { leaveStopDuration, takeStopDuration } from "../../src/daemon/last_stop.ts";
import { test, withTempDir } from "../support/test.ts";

test("the next run tells how long the stop took, once", () =>
  withTempDir(async (dir) => {
    assertEquals(await takeStopDuration(dir), null);
    await leaveStopDuration(dir, 1234.6);
    assertEquals((await Deno.stat(`${dir}/last_stop_ms`)).mode! & 0o777, 0o600);
    assertEquals(await takeStopDuration(dir), 1235);
    assertEquals(await takeStopDuration(dir), null);
  }));

test("a stop duration that can't be kept or read stops nothing", () =>
  withTempDir(async (dir) => {
    await leaveStopDuration(`${dir}/missing`, 1);
    await Deno.writeTextFile(`${dir}/last_stop_ms`, "soon\n");
    assertEquals(await takeStopDuration(dir), null);
  }));
