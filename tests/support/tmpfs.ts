/** A small file system of its own, to be filled up. Needs root and mount(8), as in CI. */

import { until } from "./until.ts";

async function run(command: string, ...args: string[]): Promise<boolean> {
  try {
    const { success } = await new Deno.Command(command, { args, stdout: "null", stderr: "null" }).output();
    return success;
  } catch {
    // There is no such command: the same answer.
    return false;
  }
}

export class Tmpfs {
  private constructor(readonly path: string) {}

  /** Mounts at `path`, making the directory; throws where that is not allowed. */
  static async mount(path: string, size: string): Promise<Tmpfs> {
    await Deno.mkdir(path, { recursive: true });
    if (!await run("mount", "-t", "tmpfs", "-o", `size=${size},mode=0700`, "tmpfs", path)) {
      throw new Error(`Cannot mount a tmpfs at ${path}`);
    }
    return new Tmpfs(path);
  }

  /** Takes all the space there is, but for `leaveBytes`. */
  async fill(leaveBytes = 0): Promise<void> {
    const file = await Deno.open(`${this.path}/filler`, { create: true, append: true });
    try {
      for (let chunk = new Uint8Array(64 * 1024); chunk.length >= 512;) {
        try {
          await file.write(chunk);
        } catch {
          // No room for so much: try with less, down to the last bytes.
          chunk = chunk.subarray(0, chunk.length / 2);
        }
      }
      if (leaveBytes > 0) await file.truncate((await file.stat()).size - leaveBytes);
    } finally {
      file.close();
    }
  }

  async free(): Promise<void> {
    await Deno.remove(`${this.path}/filler`);
  }

  async unmount(): Promise<void> {
    await until(() => run("umount", this.path), `umount ${this.path}`);
  }
}

export async function canMount(): Promise<boolean> {
  const dir = await Deno.makeTempDir({ prefix: "gomail-mount-" });
  try {
    await (await Tmpfs.mount(dir, "64k")).unmount();
    return true;
  } catch {
    return false;
  } finally {
    await Deno.remove(dir);
  }
}
