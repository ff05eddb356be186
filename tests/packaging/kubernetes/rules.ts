/**
 * What has to hold of the manifests, as functions that give what is wrong, so that a test can show that each notices
 * what it is there for. They compare what stands in several places: manifests, config, Containerfile, the program.
 */

import { withChecks } from "../../../src/config/check.ts";
import type { LoadResult } from "../../../src/config/load.ts";
import { parseHttpUrl, parseListen } from "../../../src/config/notation.ts";
import type { Config } from "../../../src/config/schema.ts";
import { parse } from "@std/yaml";
import { routeTable } from "../../../src/servers/http/app.ts";
import type { HttpDeps } from "../../../src/servers/http/types.ts";
import { loadFrom, readFrom } from "../../config/support.ts";
import {
  at,
  CONFIG_FILE,
  containerOf,
  EXAMPLE_FILE,
  type Folder,
  list,
  one,
  podOf,
  type Resource,
  type Sources,
  type Tree,
} from "./manifests.ts";
import { podSecurityProblems } from "./pod_security.ts";

/** What a rule looks at: everything that would be applied, and where it came from. */
export interface Cluster {
  sources: Sources;
  resources: Resource[];
  loaded: LoadResult;
  config: Config;
}

const GOOD_TOKEN = "q7Vw2nRk-94xTfLc0ZsYbE";
const GOOD_SECRET = "whsec_" + btoa("0123456789abcdefghijklmnopqrstuv");
const MOUNT = "/etc/gomail";
/** Of the load balancer, and of nothing else. */
const SMTP_PORT = 25;
/** What gomail-alerts.yml asks for. */
const ALERTED_JOB = "gomail";
const UNITS = { Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30 };

const bytesOf = (quantity: string) =>
  Number.parseInt(quantity) * (UNITS[quantity.slice(-2) as keyof typeof UNITS] ?? NaN);

/** The files that a replica finds below /etc/gomail and elsewhere; the Secret's as the server wants them. */
export function loadedIn(
  config: string,
  env: Record<string, string> = {},
  secrets: Tree = {},
  more: Record<string, string> = {},
): LoadResult {
  const files = {
    ...more,
    [`${MOUNT}/${CONFIG_FILE}`]: config,
    [`${MOUNT}/bearer_token`]: `${secrets.bearer_token ?? GOOD_TOKEN}\n`,
    [`${MOUNT}/webhook_secret`]: `${secrets.webhook_secret ?? GOOD_SECRET}\n`,
  };
  const surroundings = { readFile: readFrom(files), fileMode: () => 0o440, now: Date.now };
  return withChecks(loadFrom({ files, env, configFile: `${MOUNT}/${CONFIG_FILE}` }), surroundings);
}

/** The environment of the first replica, with $(NAME) replaced. */
export function environmentOf(resources: readonly Resource[]): Record<string, string> {
  const statefulSet = one(resources, "StatefulSet");
  const fields: Record<string, string> = {
    "metadata.name": `${statefulSet.metadata.name}-0`,
    "metadata.namespace": "gomail",
  };
  const env: Record<string, string> = {};
  for (const { name, value, valueFrom } of list(containerOf(resources), "env")) {
    const field = at(valueFrom, "fieldRef", "fieldPath");
    const text = field === undefined ? String(value) : fields[field] ?? "";
    env[name as string] = text.replace(/\$\((\w+)\)/g, (whole, variable) => env[variable] ?? whole);
  }
  return env;
}

/** Ports as the config has them, by the name that the manifests give them. */
function configPorts(config: Config): Record<string, number> {
  const smtp = parseListen(config.smtp_listen[0] ?? "");
  return {
    smtp: smtp && "port" in smtp ? smtp.port : NaN,
    api: config.port,
    metrics: config.metrics_port,
  };
}

const sameLabels = (selector: Tree | undefined, labels: Tree | undefined) =>
  Object.entries(selector ?? { none: "" }).every(([key, value]) => labels?.[key] === value);

function folderProblems(name: string, { kustomization, files }: Folder, others: string[]): string[] {
  const { resources, patches, ...rest } = kustomization;
  const listed = [...resources, ...patches.map(({ path }) => path), ...others].sort();
  const known = ["apiVersion", "kind", "namespace", "components", "configMapGenerator", "images"];
  const there = Object.keys(files).sort();
  return [
    ...(JSON.stringify(listed) === JSON.stringify(there)
      ? []
      : [`${name}: lists ${listed}, and has ${there}`]),
    ...Object.keys(rest).filter((key) => !known.includes(key)).map((key) => `${name}: ${key}`),
  ];
}

type Rule = (cluster: Cluster) => string[];

const kustomizationRule: Rule = ({ sources: { base, components } }) => {
  const { namespace, configMapGenerator, images } = base.kustomization;
  const generated = JSON.stringify(configMapGenerator);
  return [
    ...folderProblems("base", base, [EXAMPLE_FILE]),
    ...Object.entries(components).flatMap(([name, folder]) => folderProblems(name, folder, [])),
    ...(generated === `[{"name":"gomail-config","files":["${CONFIG_FILE}"]}]`
      ? []
      : [`ConfigMap: ${generated}`]),
    ...(namespace === base.files["namespace.yaml"]?.[0]?.metadata.name ? [] : [`namespace ${namespace}`]),
    ...(images.length === 1 && images[0]?.name === "gomail" && images[0].newName === undefined
      ? []
      : ["images"]),
  ];
};

/** Who is meant: every selector finds the pod, and every reference what it names. */
const referenceRule: Rule = ({ resources, sources }) => {
  const { spec } = one(resources, "StatefulSet") as Tree as { spec: Tree };
  const labels = at(spec, "template", "metadata", "labels");
  const selectors = resources.flatMap(({ kind, metadata, spec }): [string, Tree | undefined][] => {
    const name = `${kind} ${metadata.name}`;
    if (kind === "Service") return [[name, at(spec, "selector")]];
    if (kind === "NetworkPolicy") return [[name, at(spec, "podSelector", "matchLabels")]];
    if (kind === "StatefulSet") {
      const spread = list(spec, "template", "spec", "topologySpreadConstraints");
      return [
        [name, at(spec, "selector", "matchLabels")],
        ...spread.map((constraint): [string, Tree] => [
          `${name} topology`,
          at(constraint, "labelSelector", "matchLabels"),
        ]),
      ];
    }
    if (kind === "PodDisruptionBudget") return [[name, at(spec, "selector", "matchLabels")]];
    return [];
  });
  const wrong = selectors.filter(([, selector]) => !sameLabels(selector, labels)).map(([name]) =>
    `${name} does not select the pod`
  );
  const services = resources.filter(({ kind }) => kind === "Service");
  const service = services.find(({ metadata }) => metadata.name === spec.serviceName);
  if (at(service, "spec", "clusterIP") !== "None") wrong.push("serviceName is no headless service");
  for (const monitor of resources.filter(({ kind }) => kind === "ServiceMonitor")) {
    const matched = services.filter(({ metadata }) =>
      sameLabels(at(monitor, "spec", "selector", "matchLabels"), metadata.labels)
    );
    if (matched.length !== 1 || matched[0] !== service) wrong.push("ServiceMonitor selects another service");
    // The operator's rule: the label's value, or the Service's name.
    const job = service?.metadata.labels?.[at(monitor, "spec", "jobLabel")] ?? service?.metadata.name;
    if (job !== ALERTED_JOB) wrong.push(`the job is ${job}: no alert about ${ALERTED_JOB} would fire`);
    for (const endpoint of list(monitor, "spec", "endpoints")) {
      const named = list(endpoint, "relabelings").some(({ sourceLabels, targetLabel }) =>
        `${sourceLabels}` === "__meta_kubernetes_pod_name" && targetLabel === "instance"
      );
      if (!named) wrong.push("an instance is another one after each restart");
      // As the alerts about backups have it.
      const excused = list(endpoint, "relabelings").some(({ targetLabel, replacement }) =>
        targetLabel === "backup" && replacement === "snapshots"
      );
      if (!excused) wrong.push("an alert asks for backups that no pod makes");
    }
  }
  const mounted = list(spec, "template", "spec", "volumes").flatMap((volume) =>
    list(volume, "projected", "sources")
  );
  const config = mounted.map((source) => at(source, "configMap", "name")).filter((name) =>
    name !== undefined
  );
  const secrets = mounted.filter((source) => "secret" in source).map((source) => at(source, "secret"));
  if (`${config}` !== sources.base.kustomization.configMapGenerator[0]?.name) {
    wrong.push(`ConfigMap ${config}`);
  }
  const [example] = sources.base.files[EXAMPLE_FILE]!;
  const keys = secrets.flatMap((secret) => list(secret, "items").map(({ key }) => key)).sort();
  if (`${secrets.map(({ name }) => name)}` !== example!.metadata.name) wrong.push("Secret has another name");
  if (`${keys}` !== `${Object.keys(at(example, "stringData")).sort()}`) {
    wrong.push(`Secret has other keys than ${keys}`);
  }
  return wrong;
};

/** The same number under the same name, from the config to the Service; and only names in between. */
const portRule: Rule = ({ resources, config, sources }) => {
  const ports = configPorts(config);
  const wrong: string[] = [];
  const expect = (what: string, is: unknown, should: unknown) => {
    if (JSON.stringify(is) !== JSON.stringify(should)) wrong.push(`${what}: ${is}, should be ${should}`);
  };
  const declared = list(containerOf(resources), "ports").map((
    { name, containerPort },
  ) => [name, containerPort]);
  expect("container ports", declared, Object.entries(ports));
  const exposed = /^EXPOSE (.*)$/m.exec(sources.containerfile)?.[1];
  expect("EXPOSE", exposed, Object.values(ports).join(" "));
  for (const { kind, metadata, spec } of resources) {
    const name = `${kind} ${metadata.name}`;
    if (kind === "Service") {
      for (const port of list(spec, "ports")) {
        const number = port.name === "smtp" ? SMTP_PORT : ports[port.name as string];
        expect(`${name} ${port.name}`, [port.port, port.targetPort], [number, port.name]);
      }
    }
    if (kind === "NetworkPolicy") {
      const named = list(spec, "ingress").flatMap((rule) => list(rule, "ports")).map(({ port }) => port);
      for (const port of named) if (!(port as string in ports)) wrong.push(`${name}: ingress on ${port}`);
    }
    if (kind === "ServiceMonitor") {
      const endpoints = list(spec, "endpoints").map(({ port, path }) => [port, path]);
      expect(name, endpoints, [["metrics", config.metrics_path]]);
    }
    if (kind === "Ingress") {
      const backends = list(spec, "rules").flatMap((rule) => list(rule, "http", "paths")).map((path) =>
        [at(path, "backend", "service", "name"), at(path, "backend", "service", "port", "name")].join(":")
      );
      expect(name, backends, ["gomail-api:api"]);
    }
  }
  const headless = list(one(resources, "Service", "gomail-pods"), "spec", "ports").map(({ name }) => name);
  expect("gomail-pods", headless, ["api", "metrics"]);
  expect("gomail", list(one(resources, "Service"), "spec", "ports").map(({ name }) => name), ["smtp"]);
  return wrong;
};

/** Where the kubelet asks is where the API answers, to everybody. */
const probeRule: Rule = ({ resources }) => {
  const open = routeTable({} as HttpDeps).filter(({ method, access }) =>
    method === "GET" && access === "open"
  )
    .map(({ path }) => path);
  const container = containerOf(resources);
  const probes = {
    startupProbe: "/health/live",
    livenessProbe: "/health/live",
    readinessProbe: "/health/ready",
  };
  return Object.entries(probes).flatMap(([name, path]) => {
    const get = at(container, name, "httpGet");
    const isThere = open.includes(get?.path) && get?.path === path && get?.port === "api";
    return isThere ? [] : [`${name}: ${JSON.stringify(get)}`];
  });
};

/** The config loads and is valid as it stands. One warning is the price of probes: the API is not on loopback. */
const configRule: Rule = ({ loaded, sources }) => {
  const found = loaded.warnings.map(({ path, problem }) => `${path} ${problem}`);
  const wrong = found.filter((warning) => !warning.startsWith("listen_address is reachable from outside"));
  if (!loaded.ok) wrong.push(...loaded.problems.map(({ path, problem }) => `${path} ${problem}`));
  const [example] = sources.base.files[EXAMPLE_FILE]!;
  for (const key of ["bearer_token", "webhook_secret"]) {
    const refused = loadedIn(sources.config, {}, { [key]: at(example, "stringData", key) });
    if (refused.ok) wrong.push(`${key}: the server would start with the example's`);
  }
  const inside = Object.keys(parse(sources.config) as Tree);
  const secret = /^(bearer_token|webhook_secret|webhook_secret_next|webhook_bearer_token|dkim_passphrase)$/;
  return [
    ...wrong,
    ...inside.filter((key) => secret.test(key)).map((key) => `${key} is a secret in a ConfigMap`),
  ];
};

/** Everything that is written is on a volume, and mail on the one that lasts. */
const placeRule: Rule = ({ resources, config }) => {
  const spec = at(podOf(resources), "spec");
  const mounts = list(containerOf(resources), "volumeMounts");
  const below = (path: string) =>
    mounts.find(({ mountPath }) => path === mountPath || path.startsWith(`${mountPath}/`));
  const claims = list(one(resources, "StatefulSet"), "spec", "volumeClaimTemplates");
  const volumeOf = (path: string) => list(spec, "volumes").find(({ name }) => name === below(path)?.name);
  const wrong: string[] = [];
  const claim = claims.find((claim) => at(claim, "metadata", "name") === below(config.data_dir)?.name);
  if (!claim) wrong.push("data_dir is not on a volume of its own");
  if (below(config.data_dir)?.mountPath === config.data_dir) wrong.push("data_dir is the root of the volume");
  const storage = bytesOf(at(claim, "spec", "resources", "requests", "storage") ?? "");
  const needed = (config.retention_bytes ?? Infinity) + config.disk_reserve;
  // What is owed is never deleted for its size, and has to fit as well.
  if (!(needed * 1.5 <= storage)) wrong.push(`the volume of ${storage} bytes is too small for ${needed}`);
  for (const path of [config.control_socket, "/tmp"]) {
    if (!volumeOf(path)?.emptyDir) wrong.push(`${path} is in no emptyDir`);
    if (!at(volumeOf(path), "emptyDir", "sizeLimit")) wrong.push(`${path} has no limit`);
  }
  const secrets = [config.bearer_token_file, config.webhook_secret_file, `${MOUNT}/${CONFIG_FILE}`];
  const items = list(volumeOf(MOUNT), "projected", "sources").flatMap((source) =>
    ["configMap", "secret"].flatMap((kind) => list(source, kind, "items")).map(({ path }) =>
      `${MOUNT}/${path}`
    )
  );
  for (const path of secrets) if (!items.includes(path!)) wrong.push(`${path} is not mounted`);
  const tls = [config.tls_cert_file, config.tls_key_file].filter((path) => path !== undefined);
  for (const path of tls) if (!volumeOf(path)?.secret) wrong.push(`${path} is not mounted`);
  for (const volume of list(spec, "volumes")) {
    for (const kind of ["projected", "secret"]) {
      if (volume[kind] && at(volume, kind, "defaultMode") !== 0o440) {
        wrong.push(`${volume.name} is open to others`);
      }
    }
  }
  for (const { name, mountPath, readOnly } of mounts) {
    if (/^\/etc/.test(mountPath as string) && readOnly !== true) wrong.push(`${name} is writable`);
  }
  return wrong;
};

/** Restricted by the standard, and what the standard does not ask for. */
const securityRule: Rule = ({ resources, sources }) => {
  const spec = at(podOf(resources), "spec");
  const container = containerOf(resources);
  const wrong = podSecurityProblems(spec);
  const expect = (what: string, isFine: boolean) => {
    if (!isFine) wrong.push(what);
  };
  expect("root is writable", at(container, "securityContext", "readOnlyRootFilesystem") === true);
  expect("a service account's token is mounted", spec.automountServiceAccountToken === false);
  expect("service links are set", spec.enableServiceLinks === false);
  const { runAsUser, runAsGroup, fsGroup } = spec.securityContext ?? {};
  const made = /^USER (\d+):(\d+)$/m.exec(sources.containerfile);
  const ids = [runAsUser, runAsGroup, fsGroup];
  expect(`ids ${ids} are not the image's`, `${ids}` === `${made?.[1]},${made?.[2]},${made?.[2]}`);
  expect(
    "group and user are not made with these ids",
    sources.containerfile.includes(`--gid ${runAsGroup} gomail`) &&
      sources.containerfile.includes(`--uid ${runAsUser} --gid ${runAsGroup} `),
  );
  expect(
    "every start changes the volume",
    at(spec, "securityContext", "fsGroupChangePolicy") === "OnRootMismatch",
  );
  for (const { name, valueFrom } of list(container, "env")) {
    expect(
      `${name} comes from elsewhere`,
      valueFrom === undefined || at(valueFrom, "fieldRef") !== undefined,
    );
    expect(`${name} is a secret`, !/TOKEN|SECRET|PASSPHRASE|PASSWORD/.test(name as string));
  }
  expect("the environment comes from elsewhere", !("envFrom" in container));
  const enforced = at(
    one(resources, "Namespace"),
    "metadata",
    "labels",
    "pod-security.kubernetes.io/enforce",
  );
  expect("the namespace does not enforce restricted", enforced === "restricted");
  return wrong;
};

/** How it stops, what it may take, and what a node's drain does. */
const operationRule: Rule = ({ resources, config }) => {
  const spec = at(podOf(resources), "spec");
  const container = containerOf(resources);
  const statefulSet = one(resources, "StatefulSet");
  const wrong: string[] = [];
  const preStopSeconds = Number(at(container, "lifecycle", "preStop", "exec", "command", 1) ?? 0);
  const neededSeconds = config.shutdown_timeout / 1000 + preStopSeconds;
  if (!(spec.terminationGracePeriodSeconds > neededSeconds)) {
    wrong.push(`grace is not over ${neededSeconds} s`);
  }
  const { requests, limits } = (container.resources ?? {}) as Record<string, Record<string, string>>;
  // Measured: 140 MB at rest, 470 MB under full load.
  if (!(bytesOf(requests?.memory ?? "") >= 140e6)) wrong.push("less memory is asked for than at rest");
  if (!(bytesOf(limits?.memory ?? "") >= 1.5 * 470e6)) wrong.push("the limit on memory is near the peak");
  // A thread for each core that it may use.
  if (!(Number(limits?.cpu) <= 4)) wrong.push("cores, and by that threads, have no limit");
  const keeps = at(statefulSet, "spec", "persistentVolumeClaimRetentionPolicy");
  if (keeps?.whenDeleted !== "Retain" || keeps?.whenScaled !== "Retain") wrong.push("volumes are deleted");
  const budget = at(one(resources, "PodDisruptionBudget"), "spec");
  if (budget.maxUnavailable !== 1 || "minAvailable" in budget) wrong.push("a node can't be drained");
  const service = at(one(resources, "Service"), "spec");
  if (service.type !== "LoadBalancer" || service.externalTrafficPolicy !== "Local") {
    wrong.push("SPF would not see the client's address");
  }
  // Their stores are their own: a link that leads to any of them would mostly lead nowhere.
  const isMany = at(statefulSet, "spec", "replicas") !== 1;
  if (
    isMany !== /^http:\/\/gomail-0\.gomail-pods\.gomail\.svc\.cluster\.local:/.test(config.public_url ?? "")
  ) {
    wrong.push(`public_url ${config.public_url} leads to another replica`);
  }
  if (isMany && parseHttpUrl(config.public_url!)?.port !== `${config.port}`) {
    wrong.push("public_url has another port");
  }
  return wrong;
};

/** Who may call on what, and that mail, names and webhooks find their way out. */
const networkRule: Rule = ({ resources, config }) => {
  const policies = resources.filter(({ kind }) => kind === "NetworkPolicy");
  const spec = at(one(policies, "NetworkPolicy"), "spec");
  const wrong: string[] = [];
  if (`${spec.policyTypes}` !== "Ingress,Egress") wrong.push("not both directions");
  const rules = policies.flatMap((policy) => list(policy, "spec", "ingress"));
  for (const rule of rules) {
    const ports = list(rule, "ports").map(({ port }) => port);
    const from = list(rule, "from").map((peer) => at(peer, "namespaceSelector", "matchLabels"));
    const isClosed = from.length > 0 && from.every((labels) => Object.keys(labels ?? {}).length > 0);
    if (ports.length !== 1) wrong.push(`one rule has ports ${ports}`);
    if (ports.includes("smtp") ? "from" in rule : !isClosed) {
      wrong.push(`${ports} is open to others than it should`);
    }
    if (ports.includes("metrics") && at(from, 0, "kubernetes.io/metadata.name") !== "monitoring") {
      wrong.push("metrics are open to others than monitoring");
    }
  }
  for (const name of ["smtp", "api", "metrics"]) {
    if (!rules.some((rule) => at(rule, "ports", 0, "port") === name)) wrong.push(`nobody may call ${name}`);
  }
  const egress = list(spec, "egress").flatMap((rule) => list(rule, "ports")).map(({ port, protocol }) =>
    `${protocol} ${port}`
  );
  const webhook = parseHttpUrl(config.webhook_url ?? "");
  const out = config.outbound_transport === "direct"
    ? config.outbound_port
    : config.outbound_smarthost.split(":").pop();
  const webhookPort = webhook?.port || (webhook?.protocol === "http:" ? 80 : 443);
  for (const needed of ["UDP 53", "TCP 53", "TCP 443", `TCP ${out}`, `TCP ${webhookPort}`]) {
    if (!egress.includes(needed)) wrong.push(`${needed} has no way out`);
  }
  return wrong;
};

/** The image: a name for the overlay to replace, with this version, and nothing in it that is anybody's secret. */
export const imageRule = ({ resources, sources }: Cluster, version: string): string[] => {
  const { containerfile } = sources;
  const steps = containerfile.replace(/\\\n/g, " ").split("\n").filter((line) => /^[A-Z]+ /.test(line));
  const installs = steps.filter((step) => /^RUN .*apt-get install/.test(step));
  const isClean = installs.length === 1 &&
    /apt-get install.*&& find \/etc\/gomail -mindepth 1 -delete/.test(installs[0]!);
  const wrong: string[] = [];
  if (!isClean) wrong.push("secrets of the installation stay in a layer");
  if (steps.some((step) => /^(COPY|ADD) /.test(step))) wrong.push("the package stays in a layer");
  if (!steps.includes("FROM debian:bookworm-slim")) wrong.push("another base");
  if (!steps.includes('ENTRYPOINT ["/usr/bin/gomail"]') || !steps.includes('CMD ["server"]')) {
    wrong.push("entrypoint");
  }
  if (!steps.includes("STOPSIGNAL SIGTERM")) wrong.push("stop signal");
  if (!steps.includes("WORKDIR /var/lib/gomail")) wrong.push("the executable may touch more than its places");
  if (`${list(containerOf(resources), "args")}` !== "server") wrong.push("args are not the command");
  if (containerOf(resources).image !== sources.base.kustomization.images[0]?.name) {
    wrong.push("no image to replace");
  }
  if (sources.base.kustomization.images[0]?.newTag !== version) wrong.push(`the tag is not ${version}`);
  return wrong;
};

export const RULES: Readonly<Record<string, Rule>> = {
  "kustomization.yaml lists what is there": kustomizationRule,
  "selectors and references find what they name": referenceRule,
  "ports and paths are the config's": portRule,
  "probes ask where the API answers": probeRule,
  "the config is valid, and the example's secrets are refused": configRule,
  "what is written is on a volume": placeRule,
  "the pod is restricted": securityRule,
  "it stops in time, within its limits": operationRule,
  "the network lets in and out who should": networkRule,
};
