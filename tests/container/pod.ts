/**
 * One replica without a cluster: the volumes that the StatefulSet mounts, laid out as the kubelet does it, and the
 * image's entrypoint run with them by run_pod. What it is given comes from the manifests; nothing is repeated here.
 */

import { parse } from "@std/yaml";
import {
  at,
  CONFIG_FILE,
  containerOf,
  list,
  podOf,
  type Resource,
  type Sources,
} from "../packaging/kubernetes/manifests.ts";
import { environmentOf } from "../packaging/kubernetes/rules.ts";
import { run } from "../support/program.ts";
import type { ImageConfig } from "./containerfile.ts";

const HERE = new URL("./", import.meta.url).pathname;

/** As a replica's own: kept over its lives. */
export interface Pod {
  /** Of the image. */
  root: string;
  /** Where the volumes and the files for run_pod are. */
  dir: string;
  image: ImageConfig;
  resources: readonly Resource[];
  /** The ConfigMap's and the Secret's values, by their keys. */
  values: Record<string, string>;
  /** Beside the manifests' environment. */
  env: Record<string, string>;
}

export interface Life {
  /** As this machine counts. */
  pid: number;
  log: () => string;
  signal: (signal: Deno.Signal) => void;
  /** Its exit code. */
  ended: Promise<number>;
  /** `kubectl exec`. */
  exec: (...command: string[]) => Promise<{ code: number; out: string; err: string }>;
}

function idsOf({ resources }: Pod): [user: number, group: number, fsGroup: number] {
  const { runAsUser, runAsGroup, fsGroup } = at(podOf(resources), "spec", "securityContext");
  return [runAsUser, runAsGroup, fsGroup];
}

/** A mode of the kubelet's: what a volume of the pod's group has. */
const SHARED_MODE = 0o2777;

async function ownedDir(path: string, mode: number, group: number): Promise<void> {
  await Deno.mkdir(path, { recursive: true });
  await Deno.chown(path, 0, group);
  await Deno.chmod(path, mode);
}

/**
 * The files of a projected volume, as the kubelet swaps them in one step: `..data` is a link to a folder with a time for a
 * name, and each file a link through it. Called again it is a changed Secret.
 */
export async function project(pod: Pod, volume: string): Promise<void> {
  const [, , fsGroup] = idsOf(pod);
  const found = list(podOf(pod.resources), "spec", "volumes").find(({ name }) => name === volume);
  const dir = `${pod.dir}/${volume}`;
  const version = `..${crypto.randomUUID()}`;
  await ownedDir(dir, SHARED_MODE, fsGroup);
  await ownedDir(`${dir}/${version}`, 0o2755, fsGroup);
  const items = list(found, "projected", "sources").flatMap((source) =>
    ["configMap", "secret"].flatMap((kind) => list(source, kind, "items"))
  );
  for (const { key, path } of items as { key: string; path: string }[]) {
    const file = `${dir}/${version}/${path}`;
    await Deno.writeTextFile(file, pod.values[key]!);
    await Deno.chown(file, 0, fsGroup);
    await Deno.chmod(file, at(found, "projected", "defaultMode"));
    await Deno.remove(`${dir}/${path}`).catch(() => {});
    await Deno.symlink(`..data/${path}`, `${dir}/${path}`);
  }
  await Deno.symlink(version, `${dir}/..data_tmp`);
  await Deno.rename(`${dir}/..data_tmp`, `${dir}/..data`);
}

/** All volumes, and the list of mounts for run_pod. A claim's is kept, an emptyDir is new with each pod. */
async function layOut(pod: Pod): Promise<string> {
  const [, , fsGroup] = idsOf(pod);
  const volumes = list(podOf(pod.resources), "spec", "volumes");
  const lines: string[] = [];
  for (const { name, mountPath, readOnly } of list(containerOf(pod.resources), "volumeMounts")) {
    const volume = volumes.find((one) => one.name === name);
    const dir = `${pod.dir}/${name}`;
    if (volume?.projected) await project(pod, name as string);
    else {
      if (volume?.emptyDir) await run("rm", ["-rf", dir]);
      else if (volume) throw new Error(`Cannot mount ${name}: it is of a kind that is not replayed`);
      // A new disk has a directory of its own in it, which is nobody's mail.
      await ownedDir(dir, volume ? SHARED_MODE : 0o2775, fsGroup);
      if (!volume) await Deno.mkdir(`${dir}/lost+found`, { recursive: true, mode: 0o700 });
    }
    lines.push(`${readOnly ? "ro" : "rw"} ${dir} ${mountPath}`);
  }
  // The cluster's name server, as try.ts has one.
  await Deno.writeTextFile(`${pod.dir}/resolv.conf`, "nameserver 127.0.0.1\n");
  lines.push(`ro ${pod.dir}/resolv.conf /etc/resolv.conf`);
  return lines.join("\n") + "\n";
}

/** Process 1 of the container: the one child of `unshare`, once it runs what it is for. */
async function firstProcess(unsharePid: number, program: string): Promise<number | null> {
  const children = await Deno.readTextFile(`/proc/${unsharePid}/task/${unsharePid}/children`).catch(() => "");
  const pid = Number(children.trim().split(" ")[0]);
  if (!pid) return null;
  const command = await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "");
  return command.startsWith(`${program}\0`) ? pid : null;
}

/** Starts it. Resolves when the entrypoint, or the command in its place, runs or has ended. */
export async function startPod(pod: Pod): Promise<Life> {
  const [user, group, fsGroup] = idsOf(pod);
  const mounts = `${pod.dir}/mounts`, envFile = `${pod.dir}/env`;
  await Deno.writeTextFile(mounts, await layOut(pod));
  const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  const env = { PATH: path, ...pod.image.env, ...environmentOf(pod.resources), ...pod.env };
  await Deno.writeTextFile(
    envFile,
    Object.entries(env).map(([name, value]) => `${name}=${value}\n`).join(""),
  );
  const container = containerOf(pod.resources);
  const words = (key: string) => list(container, key).map(String);
  const entrypoint = "command" in container ? words("command") : pod.image.entrypoint;
  const command = [...entrypoint, ...words("args")];
  const ids = [user, group, fsGroup].map(String);
  const child = new Deno.Command(`${HERE}run_pod`, {
    args: [pod.root, ...ids, pod.image.workdir, mounts, envFile, ...command],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let log = "";
  const read = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) log += text;
  })();
  let isOver = false;
  const ended = child.status.then(async ({ code }) => {
    isOver = true;
    await read;
    return code;
  });
  let pid: number | null = null;
  while (pid === null && !isOver) {
    pid = await firstProcess(child.pid, entrypoint[0]!);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return {
    pid: pid ?? 0,
    log: () => log,
    // To the server itself, as a container runtime does it.
    signal: (signal) => Deno.kill(pid!, signal),
    ended,
    exec: (...inside) => {
      const [target, wd] = [`--target=${pid}`, `--chdir=${pod.image.workdir}`];
      const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
      const as = [
        `--reuid=${user}`,
        `--regid=${group}`,
        `--groups=${fsGroup}`,
        "--no-new-privs",
        "--bounding-set=-all",
      ];
      const enter = [target, "--mount", "--pid", "--ipc", "--uts", "--root"];
      return run("nsenter", [
        ...enter,
        "/usr/bin/setpriv",
        ...as,
        "/usr/bin/env",
        "-i",
        wd,
        ...set,
        ...inside,
      ]);
    },
  };
}

/** What the ConfigMap holds, and a Secret's values. */
export function valuesOf(sources: Sources, secret: Record<string, string>): Record<string, string> {
  return { [CONFIG_FILE]: sources.config, ...secret };
}

/** The config's own values, as they stand in it. */
export const configOf = (sources: Sources) => parse(sources.config) as Record<string, string>;
