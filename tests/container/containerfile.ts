/**
 * A Containerfile as steps to be replayed: the instructions that ours uses, and an error for any other, so that nothing
 * in it goes untried.
 */

export interface ImageConfig {
  env: Record<string, string>;
  user: string;
  workdir: string;
  stopSignal: string;
  entrypoint: string[];
  cmd: string[];
}

export interface RunStep {
  /** As /bin/sh gets it. */
  command: string;
  /** Where the build's own directory is mounted, read-only, or null. */
  contextAt: string | null;
}

export interface Containerfile {
  from: string;
  runs: RunStep[];
  config: ImageConfig;
}

const MOUNT = /^--mount=type=bind,target=(\/[\w/]+)\s+/;

function runStep(text: string): RunStep {
  const mount = MOUNT.exec(text);
  const command = text.slice(mount?.[0].length ?? 0);
  if (command.startsWith("--")) throw new Error(`Cannot replay RUN ${command.slice(0, 60)}`);
  return { command, contextAt: mount?.[1] ?? null };
}

/** Throws at what it can't replay. */
export function readContainerfile(text: string): Containerfile {
  const file: Containerfile = {
    from: "",
    runs: [],
    config: { env: {}, user: "", workdir: "/", stopSignal: "SIGTERM", entrypoint: [], cmd: [] },
  };
  const { config } = file;
  const steps = text.replace(/^#.*\n/gm, "").replace(/\\\n/g, "").split("\n").filter((line) => line !== "");
  for (const step of steps) {
    const [, name, rest = ""] = /^([A-Z]+) +(.*)$/.exec(step) ?? [];
    if (name === "FROM") file.from = rest;
    else if (name === "RUN") file.runs.push(runStep(rest));
    else if (name === "WORKDIR") config.workdir = rest;
    else if (name === "USER") config.user = rest;
    else if (name === "STOPSIGNAL") config.stopSignal = rest;
    else if (name === "ENTRYPOINT") config.entrypoint = JSON.parse(rest);
    else if (name === "CMD") config.cmd = JSON.parse(rest);
    else if (name === "ENV" && /^\w+=\S+$/.test(rest)) {
      const at = rest.indexOf("=");
      config.env[rest.slice(0, at)] = rest.slice(at + 1);
    } else if (name !== "EXPOSE") throw new Error(`Cannot replay ${step.slice(0, 60)}`);
    // What is run after it would be run as that user.
    if (name === "RUN" && config.user !== "") throw new Error("Cannot replay RUN after USER");
  }
  return file;
}
