import { assertEquals } from "@std/assert";
import { fileProblem } from "../../src/base/places.ts";
import { test, withTempDir } from "../support/test.ts";

test("a link that can't be followed is named with its target", () =>
  withTempDir(async (dir) => {
    const link = `${dir}/certificate.pem`;
    await Deno.symlink("/root/of/all/secrets.pem", link);
    assertEquals(fileProblem(link, new Deno.errors.PermissionDenied("")), {
      reason: "permission denied (it is a link to /root/of/all/secrets.pem)",
      remedy: "make it readable for this user",
    });
    assertEquals(fileProblem(`${dir}/none`, new Deno.errors.NotFound("")).reason, "no such file");
  }));
