/**
 * Resources against the schemas of their kinds, by the compiled validators of the kubernetes-models packages. Those look
 * at the keys that they know and pass over others, where a cluster would refuse a misspelt key or drop it; so a key
 * that no validator has read is a finding as well.
 *
 * It runs as a process with a lock of its own (schemas.lock): what is in the checkout's lock is downloaded by everybody
 * who tries the demo, and this would make that half as much again. So packages are named where they are imported. For
 * another version: change it here, and run this file once with that lock and without --frozen.
 */

import type { Resource } from "./manifests.ts";

const KUBERNETES = "npm:kubernetes-models@5.1.0";
const CERT_MANAGER = "npm:@kubernetes-models/cert-manager@6.0.0";
const PROMETHEUS = "npm:@kubernetes-models/prometheus-operator@6.0.0";

/** By apiVersion and kind. Each module exports a class of the kind's name. */
const SCHEMAS: Readonly<Record<string, string>> = {
  "apps/v1 StatefulSet": `${KUBERNETES}/apps/v1/StatefulSet`,
  "cert-manager.io/v1 Certificate": `${CERT_MANAGER}/cert-manager.io/v1/Certificate`,
  "monitoring.coreos.com/v1 PrometheusRule": `${PROMETHEUS}/monitoring.coreos.com/v1/PrometheusRule`,
  "monitoring.coreos.com/v1 ServiceMonitor": `${PROMETHEUS}/monitoring.coreos.com/v1/ServiceMonitor`,
  "networking.k8s.io/v1 Ingress": `${KUBERNETES}/networking.k8s.io/v1/Ingress`,
  "networking.k8s.io/v1 NetworkPolicy": `${KUBERNETES}/networking.k8s.io/v1/NetworkPolicy`,
  "policy/v1 PodDisruptionBudget": `${KUBERNETES}/policy/v1/PodDisruptionBudget`,
  "v1 Namespace": `${KUBERNETES}/v1/Namespace`,
  "v1 Secret": `${KUBERNETES}/v1/Secret`,
  "v1 Service": `${KUBERNETES}/v1/Service`,
};

interface Model {
  validate(): void;
}
type Kind = new (data: Resource) => Model;

/** `value` as it is, but telling `unread` of every key below it, and taking those away that are read. */
function watched(value: unknown, path: string, unread: Set<string>): unknown {
  if (typeof value !== "object" || value === null) return value;
  const kept = new Map<string, unknown>();
  for (const [key, inner] of Object.entries(value)) {
    const own = Array.isArray(value) ? `${path}[${key}]` : path === "" ? key : `${path}.${key}`;
    if (!Array.isArray(value)) unread.add(own);
    kept.set(key, watched(inner, own, unread));
  }
  return new Proxy(value, {
    get(target, key) {
      if (typeof key !== "string" || !kept.has(key)) return Reflect.get(target, key);
      unread.delete(path === "" ? key : `${path}.${key}`);
      return kept.get(key);
    },
  });
}

/** What its schema has against it; a kind without a schema is a finding. */
async function problemsOf(resource: Resource): Promise<string[]> {
  const name = `${resource.kind} ${resource.metadata?.name}`;
  const specifier = SCHEMAS[`${resource.apiVersion} ${resource.kind}`];
  if (!specifier) return [`${name}: there is no schema of ${resource.apiVersion}`];
  const Kind: Kind = (await import(specifier))[resource.kind];
  const model = new Kind(resource);
  const unread = new Set<string>();
  try {
    model.validate.call(watched(model, "", unread) as Model);
  } catch (error) {
    return [`${name}: ${error instanceof Error ? error.message : error}`];
  }
  return [...unread].map((path) => `${name}: ${path} is not in the schema`);
}

/** Of each set, what is wrong with it. */
export async function schemaProblems(sets: readonly Resource[][]): Promise<string[][]> {
  const path = new URL(import.meta.url).pathname;
  const lock = path.replace(/\.ts$/, ".lock");
  const { DENO_COVERAGE_DIR: _, ...env } = Deno.env.toObject();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--no-config", `--lock=${lock}`, "--frozen", path],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    clearEnv: true,
    env: { ...env, NO_COLOR: "1" },
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(sets)));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const text = new TextDecoder();
  if (code !== 0) throw new Error(`Cannot validate: ${text.decode(stderr)}`);
  return JSON.parse(text.decode(stdout));
}

if (import.meta.main) {
  const sets: Resource[][] = await new Response(Deno.stdin.readable).json();
  const found: string[][] = [];
  for (const set of sets) found.push((await Promise.all(set.map(problemsOf))).flat());
  console.log(JSON.stringify(found));
}
