/** Programs that the build starts: each must go well, and says on the terminal what it says. */

export interface RunOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** What it prints is returned and not shown. */
  quiet?: boolean;
}

/** Its stdout. Throws, with what it printed, when it can't be started or ends with another code than 0. */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const { cwd, env, quiet = false } = options;
  const child = new Deno.Command(command, {
    args: [...args],
    stdin: "null",
    stdout: "piped",
    stderr: quiet ? "piped" : "inherit",
    ...(cwd && { cwd }),
    ...(env && { env }),
  });
  const output = await child.output();
  const text = new TextDecoder();
  const stdout = text.decode(output.stdout);
  const { code } = output;
  if (code === 0) return stdout;
  const said = quiet ? `: ${stdout}${text.decode(output.stderr)}` : "";
  throw new Error(`Cannot go on: ${command} ${args[0] ?? ""} ended with code ${code}${said}`);
}

/** Whether a program of that name can be started. */
export async function isThere(command: string): Promise<boolean> {
  try {
    await new Deno.Command(command, { args: ["--version"], stdout: "null", stderr: "null", stdin: "null" })
      .output();
    return true;
  } catch {
    // Not on PATH.
    return false;
  }
}
