/**
 * The control socket's file, whose mode is the access check: whoever may open it may do everything. It is bound
 * in a fresh directory that only we can enter, given its mode, and then moved to its place, so that at no moment
 * anybody else can connect, and a stale file is replaced in one step. Setting the umask around bind() would do
 * the first, but the umask is the whole process's, and other threads make files.
 */

import { Buffer } from "node:buffer";
import net from "node:net";
import { dirname, join } from "node:path";

const SOCKET_MODE = 0o660;
const DIRECTORY_MODE = 0o750;
/** sun_path of unix(7), less its NUL. */
const PATH_BYTES_MAX = 107;

/** True when somebody answers at this path. A file that refuses was left behind. */
function isLive(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: Error & { code?: string }) => {
      if (error.code === "ECONNREFUSED" || error.code === "ENOENT") resolve(false);
      else reject(new Error(`Cannot listen on control socket ${path}: ${error.code ?? "not accessible"}`));
    });
  });
}

async function stat(path: string): Promise<Deno.FileInfo | null> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Lets `listen` bind where it can, and resolves with what removes the socket again, if it is still ours. */
export async function bindControlSocket(
  path: string,
  listen: (path: string) => Promise<void>,
): Promise<() => Promise<void>> {
  const parent = dirname(path);
  await Deno.mkdir(parent, { recursive: true, mode: DIRECTORY_MODE });
  const found = await stat(path);
  if (found && !found.isSocket) {
    throw new Error(`Cannot listen on control socket ${path}: it is not a socket`);
  }
  if (found && await isLive(path)) {
    throw new Error(`Cannot listen on control socket ${path}: another daemon is running`);
  }
  const nursery = await Deno.makeTempDir({ dir: parent, prefix: ".c" });
  const born = join(nursery, "s");
  try {
    if (Buffer.byteLength(born) > PATH_BYTES_MAX) {
      throw new Error(`Cannot listen on control socket ${path}: the path is too long`);
    }
    await listen(born);
    await Deno.chmod(born, SOCKET_MODE);
    await Deno.rename(born, path);
  } finally {
    await Deno.remove(nursery, { recursive: true });
  }
  const ours = await stat(path);
  return async () => {
    const now = await stat(path);
    if (now && now.ino === ours?.ino) await Deno.remove(path);
  };
}
