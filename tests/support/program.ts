/** Programs of the host that a test may want to ask: shells, formatters, openssl. */

export interface Finished {
  code: number;
  out: string;
  err: string;
}

/** Whether it can be started at all. */
export function hasProgram(name: string): boolean {
  const path = Deno.env.get("PATH") ?? "";
  return path.split(":").some((dir) => {
    try {
      return Deno.statSync(`${dir}/${name}`).isFile;
    } catch {
      // Not in this directory.
      return false;
    }
  });
}

/** Runs it to its end, with `input` on stdin. `env` comes on top of our own environment, unless that is cleared. */
export async function run(
  name: string,
  args: readonly string[],
  options: { input?: string; env?: Record<string, string>; clearEnv?: boolean; cwd?: string } = {},
): Promise<Finished> {
  const { input, ...rest } = options;
  const command = new Deno.Command(name, {
    args: [...args],
    stdin: input === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
    ...rest,
  });
  const child = command.spawn();
  if (input !== undefined) {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(input));
    await writer.close();
  }
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
}
