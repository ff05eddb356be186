/**
 * The manifests as a cluster would get them: packaging/kubernetes/ read whole, and with a component's resources and
 * patches put in as `kubectl kustomize` does it. Only as much of Kustomize as these folders use; an unknown key of a
 * kustomization.yaml is an error, so that nothing is passed over.
 */

import { parse } from "@std/yaml";

export const FOLDER = new URL("../../../packaging/kubernetes/", import.meta.url).pathname;
export const COMPONENTS = ["certificate", "ingress", "monitoring", "replicas"];
/** One that is put on for a while, in place of the server. */
export const RESTORE = "restore";

/** What YAML gives; looked into by path with at() and list(). */
export type Tree = { [key: string]: unknown };

export interface Resource extends Tree {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string> };
}

interface Kustomization {
  namespace?: string;
  resources: string[];
  components: string[];
  patches: { path: string }[];
  configMapGenerator: { name: string; files: string[] }[];
  images: { name: string; newName?: string; newTag?: string }[];
}

/** One folder: its kustomization.yaml, and the documents of every other YAML file by file name. */
export interface Folder {
  kustomization: Kustomization;
  files: Record<string, Resource[]>;
}

/** Base and components before they are put together: what a test may change to see that it is noticed. */
export interface Sources {
  base: Folder;
  components: Record<string, Folder>;
  /** gomail.yaml, what the ConfigMap is made of. */
  config: string;
  containerfile: string;
}

/** The config is YAML too, but no resource; and the Secret is an example. */
export const CONFIG_FILE = "gomail.yaml";
export const EXAMPLE_FILE = "secret.example.yaml";

/** Every document; `---` parts them. */
export function documents(text: string): Resource[] {
  return text.split(/^---$/m).map((part) => parse(part) as Resource).filter((document) => document !== null);
}

async function readFolder(path: string): Promise<Folder> {
  const files: Folder["files"] = {};
  let found: Tree | undefined;
  for await (const { name, isFile } of Deno.readDir(path)) {
    if (!isFile || !/\.ya?ml$/.test(name) || name === CONFIG_FILE) continue;
    const [first, ...more] = documents(await Deno.readTextFile(`${path}/${name}`));
    if (!first) throw new Error(`${name} is empty`);
    if (name === "kustomization.yaml") found = first;
    else files[name] = [first, ...more];
  }
  if (!found) throw new Error(`${path} has no kustomization.yaml`);
  const lists = { resources: [], components: [], patches: [], configMapGenerator: [], images: [] };
  return { kustomization: { ...lists, ...found } as unknown as Kustomization, files };
}

export async function readSources(): Promise<Sources> {
  const components = [...COMPONENTS, RESTORE].map(async (
    name,
  ) => [name, await readFolder(`${FOLDER}components/${name}`)]);
  return {
    base: await readFolder(FOLDER),
    components: Object.fromEntries(await Promise.all(components)),
    config: await Deno.readTextFile(FOLDER + CONFIG_FILE),
    containerfile: await Deno.readTextFile(`${FOLDER}Containerfile`),
  };
}

const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Kubernetes' strategic merge, for lists whose entries have names (and are merged by them); null takes a key away. */
function merged(below: unknown, above: unknown): unknown {
  if (
    Array.isArray(below) && Array.isArray(above) && above.every((entry) => isTree(entry) && "name" in entry)
  ) {
    const result = [...below];
    for (const entry of above) {
      const at = result.findIndex((other) => isTree(other) && other.name === entry.name);
      if (at < 0) result.push(entry);
      else result[at] = merged(result[at], entry);
    }
    return result;
  }
  if (!isTree(below) || !isTree(above)) return above;
  const result: Tree = { ...below };
  for (const [key, value] of Object.entries(above)) {
    if (value === null) delete result[key];
    else result[key] = key in below ? merged(below[key], value) : value;
  }
  return result;
}

function resourcesOf({ kustomization, files }: Folder): Resource[] {
  return kustomization.resources.flatMap((name) => {
    const found = files[name];
    if (!found) throw new Error(`${name} is a resource, and no file`);
    return found;
  });
}

/** Everything that `kubectl apply -k` would send, with the named components. */
export function rendered({ base, components }: Sources, names: readonly string[] = []): Resource[] {
  let all = structuredClone(resourcesOf(base));
  for (const name of names) {
    const component = components[name]!;
    all.push(...structuredClone(resourcesOf(component)));
    for (const { path } of component.kustomization.patches) {
      const [patch] = component.files[path]!;
      const isTarget = ({ kind, metadata }: Resource) =>
        kind === patch!.kind && metadata.name === patch!.metadata.name;
      if (!all.some(isTarget)) throw new Error(`${path} patches what is not there`);
      all = all.map((resource) => isTarget(resource) ? merged(resource, patch) as Resource : resource);
    }
  }
  return all;
}

/** What is at a path of keys and list indexes, as the type that the caller knows it has; undefined where nothing is. */
// deno-lint-ignore no-explicit-any -- what a manifest has is what the rules are there to find out
export function at(value: unknown, ...path: (string | number)[]): any {
  let found = value;
  for (const key of path) found = (found as Tree | undefined)?.[key as string];
  return found;
}

export function list(value: unknown, ...path: (string | number)[]): Tree[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found : [];
}

/** The one of this kind and name; throws where there is none, which a rule's caller makes a finding of. */
export function one(resources: readonly Resource[], kind: string, name = "gomail"): Resource {
  const found = resources.filter((resource) => resource.kind === kind && resource.metadata.name === name);
  if (found.length !== 1) throw new Error(`there are ${found.length} of ${kind} ${name}`);
  return found[0]!;
}

export const podOf = (resources: readonly Resource[]) =>
  at(one(resources, "StatefulSet"), "spec", "template");
export const containerOf = (resources: readonly Resource[]): Tree =>
  list(podOf(resources), "spec", "containers")[0]!;
