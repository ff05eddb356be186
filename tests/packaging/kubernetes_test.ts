/**
 * packaging/kubernetes/: what stands in the manifests, the config and the Containerfile agrees with each other and with
 * the program, base and with each component. And every rule that says so notices what it is there for: each is shown
 * manifests with one thing changed, and has to name it.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { parse } from "@std/yaml";
import meta from "../../deno.json" with { type: "json" };
import { makeCertificate } from "../support/certificates.ts";
import { run } from "../support/program.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";
import {
  at,
  COMPONENTS,
  containerOf,
  documents,
  EXAMPLE_FILE,
  FOLDER,
  list,
  one,
  podOf,
  readSources,
  rendered,
  type Resource,
  RESTORE,
  type Sources,
  type Tree,
} from "./kubernetes/manifests.ts";
import { CONTROLS, podSecurityProblems } from "./kubernetes/pod_security.ts";
import { type Cluster, environmentOf, imageRule, loadedIn, RULES } from "./kubernetes/rules.ts";
import { schemaProblems } from "./kubernetes/schemas.ts";

const certificate = await makeCertificate("mail.example.com");
const certificateFiles = {
  "/etc/ssl/gomail/tls.crt": certificate.cert,
  "/etc/ssl/gomail/tls.key": certificate.key,
};

/** Base, each component alone, and all of them. */
const SETS: readonly (readonly string[])[] = [[], ...COMPONENTS.map((name) => [name]), COMPONENTS];

/** Where the resources, too, are changed after they are put together. */
function clusterOf(
  sources: Sources,
  names: readonly string[],
  change?: (resources: Resource[]) => void,
): Cluster {
  const resources = rendered(sources, names);
  change?.(resources);
  const loaded = loadedIn(sources.config, environmentOf(resources), {}, certificateFiles);
  return {
    sources,
    resources,
    loaded,
    config: loaded.ok ? loaded.config : loaded.partial as Cluster["config"],
  };
}

const sources = await readSources();

for (const names of SETS) {
  for (const [name, rule] of Object.entries(RULES)) {
    test(`Kubernetes, ${names.join(", ") || "base"}: ${name}`, () => {
      assertEquals(rule(clusterOf(sources, names)), []);
    });
  }
}

test("Kubernetes, restore: the pod is the same, but waits, serves nobody, and is never ready", () => {
  for (const names of [[RESTORE], [...COMPONENTS, RESTORE]]) {
    const cluster = clusterOf(sources, names);
    const others = Object.entries(RULES).filter(([name]) => name !== "probes ask where the API answers");
    for (const [name, rule] of others) assertEquals(rule(cluster), [], name);
    const { command, args, startupProbe, livenessProbe, readinessProbe, ...rest } = containerOf(
      cluster.resources,
    );
    assertEquals([command, args], [["sh", "-c"], ["trap exit TERM; sleep infinity & wait"]]);
    assertEquals([startupProbe, livenessProbe], [undefined, undefined]);
    assertEquals(at(readinessProbe, "exec", "command"), ["false"]);
    assert(!("httpGet" in (readinessProbe as Tree)));
    const { args: _, startupProbe: _s, livenessProbe: _l, readinessProbe: _r, ...usual } = containerOf(
      rendered(sources, names.filter((name) => name !== RESTORE)),
    );
    assertEquals(rest, usual);
  }
});

test("Kubernetes, restore: it ends at once when it is told to", async () => {
  const [script] = containerOf(rendered(sources, [RESTORE])).args as string[];
  const child = new Deno.Command("sh", { args: ["-c", script!], stdin: "null" }).spawn();
  // Until it listens to signals: the shell's child is there.
  await until(
    () => Deno.readTextFileSync(`/proc/${child.pid}/task/${child.pid}/children`).trim() !== "",
    "the pod to wait",
  );
  const [sleeping] = Deno.readTextFileSync(`/proc/${child.pid}/task/${child.pid}/children`).trim().split(" ");
  child.kill("SIGTERM");
  assertEquals((await child.status).signal, null);
  // In a container it goes with the first process.
  Deno.kill(Number(sleeping), "SIGKILL");
});

test("Kubernetes: the image is of this version, and holds no secret", () => {
  assertEquals(imageRule(clusterOf(sources, []), meta.version), []);
});

test("Kubernetes: all files of the folder are read", async () => {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(FOLDER)) found.push(name);
  const known = [
    ...Object.keys(sources.base.files),
    "kustomization.yaml",
    "gomail.yaml",
    "Containerfile",
    "README.md",
  ];
  assertEquals(found.sort(), [...known, "components"].sort());
  const components = [...Deno.readDirSync(`${FOLDER}components`)].map(({ name }) => name);
  assertEquals(components.sort(), [...COMPONENTS, RESTORE].sort());
});

test("Kubernetes: every document of a file is read", () => {
  const two = "kind: A\n---\n# about B\nkind: B\n---\n";
  assertEquals(documents(two).map(({ kind }) => kind), ["A", "B"]);
});

/** What is changed: what would be applied, or the sources. */
interface Change {
  what: string;
  names?: readonly string[];
  resources?: (resources: Resource[]) => void;
  sources?: (sources: Sources) => void;
  /** What the rule has to say. */
  says: RegExp;
}

const pod = (resources: Resource[]) => at(podOf(resources), "spec");
const container = (resources: Resource[]) => containerOf(resources) as Record<string, never>;
const policy = (resources: Resource[]) => at(one(resources, "NetworkPolicy"), "spec");
const service = (resources: Resource[], name?: string) => at(one(resources, "Service", name), "spec");
const set = (resources: Resource[]) => at(one(resources, "StatefulSet"), "spec");
const config = (from: string | RegExp, to: string) => (changed: Sources) => {
  const text = changed.config.replace(from, to);
  assert(text !== changed.config, `${from} is not in the config any more`);
  changed.config = text;
};
const containerfile = (from: string, to: string) => (changed: Sources) => {
  assert(changed.containerfile.includes(from), `${from} is not in the Containerfile any more`);
  changed.containerfile = changed.containerfile.replace(from, to);
};

const CHANGES: Readonly<Record<string, readonly Change[]>> = {
  "kustomization.yaml lists what is there": [
    { what: "a file that is not listed", sources: (s) => s.base.files["more.yaml"] = [], says: /more\.yaml/ },
    {
      what: "a key it does not know",
      sources: (s) => Object.assign(s.base.kustomization, { commonLabels: {} }),
      says: /commonLabels/,
    },
    {
      what: "a component's file left out",
      sources: (s) => s.components.ingress!.kustomization.resources.pop(),
      says: /ingress: lists/,
    },
    {
      what: "no ConfigMap",
      sources: (s) => s.base.kustomization.configMapGenerator.pop(),
      says: /ConfigMap/,
    },
    {
      what: "another namespace",
      sources: (s) => s.base.kustomization.namespace = "mail",
      says: /namespace mail/,
    },
    {
      what: "a registry's name",
      sources: (s) => s.base.kustomization.images[0]!.newName = "a.example/gomail",
      says: /images/,
    },
  ],
  "selectors and references find what they name": [
    {
      what: "another label on the pod",
      resources: (r) => at(podOf(r), "metadata").labels = { app: "gomail" },
      says: /Service gomail does not select/,
    },
    {
      what: "another selector of the policy",
      resources: (r) => policy(r).podSelector = { matchLabels: { app: "x" } },
      says: /NetworkPolicy gomail does not/,
    },
    {
      what: "a policy that selects nothing by name",
      resources: (r) => delete policy(r).podSelector.matchLabels,
      says: /NetworkPolicy gomail does not/,
    },
    {
      what: "another selector of the budget",
      resources: (r) => at(one(r, "PodDisruptionBudget"), "spec").selector = {},
      says: /PodDisruptionBudget/,
    },
    {
      what: "another selector of the spread",
      resources: (r) => list(pod(r), "topologySpreadConstraints")[0]!.labelSelector = {},
      says: /topology/,
    },
    {
      what: "a service that is not there",
      resources: (r) => set(r).serviceName = "gomail",
      says: /no headless/,
    },
    {
      what: "a monitor of the API",
      names: ["monitoring"],
      resources: (r) =>
        at(one(r, "ServiceMonitor"), "spec", "selector", "matchLabels")["app.kubernetes.io/component"] =
          "api",
      says: /ServiceMonitor/,
    },
    {
      what: "a job that is called after the Service",
      names: ["monitoring"],
      resources: (r) => delete at(one(r, "ServiceMonitor"), "spec").jobLabel,
      says: /the job is gomail-pods/,
    },
    {
      what: "an instance that is an address",
      names: ["monitoring"],
      resources: (r) => delete at(one(r, "ServiceMonitor"), "spec", "endpoints", 0).relabelings,
      says: /after each restart/,
    },
    {
      what: "another ConfigMap",
      resources: (r) => at(pod(r), "volumes", 0, "projected", "sources", 0, "configMap").name = "other",
      says: /ConfigMap other/,
    },
    {
      what: "another Secret",
      resources: (r) => at(pod(r), "volumes", 0, "projected", "sources", 1, "secret").name = "other",
      says: /Secret has another name/,
    },
    {
      what: "another key of the Secret",
      resources: (r) => at(pod(r), "volumes", 0, "projected", "sources", 1, "secret", "items").pop(),
      says: /other keys/,
    },
  ],
  "ports and paths are the config's": [
    {
      what: "another port in the config",
      sources: config("port: 3000", "port: 3001"),
      says: /container ports/,
    },
    { what: "another SMTP port", sources: config("[::]:2525", "[::]:2526"), says: /container ports.*2526/ },
    { what: "another image port", sources: containerfile("EXPOSE 2525", "EXPOSE 25"), says: /EXPOSE/ },
    {
      what: "a Service on 2525",
      resources: (r) => service(r).ports[0].port = 2525,
      says: /Service gomail smtp/,
    },
    {
      what: "a Service by number",
      resources: (r) => service(r, "gomail-api").ports[0].targetPort = 3000,
      says: /gomail-api api/,
    },
    {
      what: "metrics by another port",
      resources: (r) => service(r, "gomail-pods").ports[1].port = 9091,
      says: /gomail-pods metrics/,
    },
    { what: "no metrics", resources: (r) => service(r, "gomail-pods").ports.pop(), says: /gomail-pods/ },
    {
      what: "a policy for a port that is not there",
      resources: (r) => policy(r).ingress[0].ports[0].port = "submission",
      says: /submission/,
    },
    {
      what: "another path of metrics",
      names: ["monitoring"],
      sources: config("metrics_path: /metrics", "metrics_path: /prometheus"),
      says: /ServiceMonitor gomail/,
    },
    {
      what: "an Ingress to SMTP",
      names: ["ingress"],
      resources: (r) =>
        at(one(r, "Ingress"), "spec", "rules", 0, "http", "paths", 0, "backend", "service").name = "gomail",
      says: /Ingress gomail/,
    },
  ],
  "probes ask where the API answers": [
    {
      what: "a path that is not there",
      resources: (r) => at(container(r), "livenessProbe", "httpGet").path = "/healthz",
      says: /livenessProbe/,
    },
    {
      what: "another port",
      resources: (r) => at(container(r), "readinessProbe", "httpGet").port = "metrics",
      says: /readinessProbe/,
    },
    {
      what: "ready that asks whether it lives",
      resources: (r) => at(container(r), "readinessProbe", "httpGet").path = "/health/live",
      says: /readinessProbe/,
    },
    { what: "none", resources: (r) => delete container(r).startupProbe, says: /startupProbe/ },
  ],
  "the config is valid, and the example's secrets are refused": [
    {
      what: "an unknown key",
      sources: config("primary_domain", "primary_domian"),
      says: /primary_domian is not a known key/,
    },
    { what: "a warning", sources: config("https://app.", "http://app."), says: /webhook_url is plain HTTP/ },
    {
      what: "a value that is none",
      sources: config("shutdown_timeout: 30s", "shutdown_timeout: soon"),
      says: /shutdown_timeout/,
    },
    {
      what: "a secret in the ConfigMap",
      sources: (s) => s.config += `dkim_passphrase: long-and-secret\n`,
      says: /dkim_passphrase is a secret/,
    },
    {
      what: "a token that works",
      sources: (s) => at(s.base.files[EXAMPLE_FILE]![0], "stringData").bearer_token = "h7Kq-2mZx9Lw-Rt4vB",
      says: /bearer_token: the server would start/,
    },
    {
      what: "a webhook secret that works",
      sources: (s) => at(s.base.files[EXAMPLE_FILE]![0], "stringData").webhook_secret = undefined,
      says: /webhook_secret: the server would start/,
    },
  ],
  "what is written is on a volume": [
    {
      what: "data elsewhere",
      sources: config("/var/lib/gomail/data", "/run/gomail/data"),
      says: /data_dir is not on a volume/,
    },
    {
      what: "data in the volume's root",
      sources: config("/var/lib/gomail/data", "/var/lib/gomail"),
      says: /root of the volume/,
    },
    {
      what: "a small volume",
      resources: (r) =>
        at(list(set(r), "volumeClaimTemplates")[0], "spec", "resources", "requests").storage = "20Gi",
      says: /too small/,
    },
    { what: "no bound on what is kept", sources: config(/^retention_bytes.*$/m, ""), says: /too small/ },
    {
      what: "no place for the socket",
      resources: (r) =>
        container(r).volumeMounts = at(container(r), "volumeMounts").filter((m: Tree) =>
          m.name !== "run"
        ) as never,
      says: /gomail\.sock is in no emptyDir/,
    },
    {
      what: "no /tmp",
      resources: (r) => pod(r).volumes = list(pod(r), "volumes").filter(({ name }) => name !== "tmp"),
      says: /\/tmp is in no emptyDir/,
    },
    {
      what: "a /tmp without a limit",
      resources: (r) =>
        delete at(list(pod(r), "volumes").find(({ name }) => name === "tmp"), "emptyDir").sizeLimit,
      says: /\/tmp has no limit/,
    },
    {
      what: "a token that is not mounted",
      sources: config("/etc/gomail/bearer_token", "/etc/gomail/token"),
      says: /token is not mounted/,
    },
    {
      what: "secrets that all may read",
      resources: (r) => at(pod(r), "volumes", 0, "projected").defaultMode = 0o444,
      says: /config is open/,
    },
    {
      what: "a certificate that is not mounted",
      names: ["certificate"],
      resources: (r) => list(pod(r), "volumes").pop()!.name = "certificate",
      says: /tls\.crt is not mounted/,
    },
    {
      what: "a config that is writable",
      resources: (r) => delete at(container(r), "volumeMounts", 0).readOnly,
      says: /config is writable/,
    },
  ],
  "the pod is restricted": [
    {
      what: "a writable root",
      resources: (r) => at(container(r), "securityContext").readOnlyRootFilesystem = false,
      says: /root is writable/,
    },
    {
      what: "a token of the cluster",
      resources: (r) => delete pod(r).automountServiceAccountToken,
      says: /token is mounted/,
    },
    { what: "service links", resources: (r) => delete pod(r).enableServiceLinks, says: /service links/ },
    {
      what: "another user",
      resources: (r) => pod(r).securityContext.runAsUser = 1000,
      says: /not the image's/,
    },
    {
      what: "another user in the image",
      sources: containerfile("USER 10025:10025", "USER gomail"),
      says: /not the image's/,
    },
    {
      what: "a user that is not made",
      sources: containerfile("--uid 10025", "--uid 999"),
      says: /are not made/,
    },
    {
      what: "a volume changed each time",
      resources: (r) => delete pod(r).securityContext.fsGroupChangePolicy,
      says: /every start/,
    },
    {
      what: "a secret in the environment",
      resources: (r) => container(r).env = [{ name: "API_BEARER_TOKEN", value: "x" }] as never,
      says: /API_BEARER_TOKEN is a secret/,
    },
    {
      what: "an environment from a Secret",
      resources: (r) => container(r).envFrom = [{}] as never,
      says: /environment comes from/,
    },
    {
      what: "a variable from a Secret",
      resources: (r) => container(r).env = [{ name: "MAIL_X", valueFrom: { secretKeyRef: {} } }] as never,
      says: /MAIL_X comes from/,
    },
    {
      what: "a namespace that lets all in",
      resources: (r) => one(r, "Namespace").metadata.labels = {},
      says: /does not enforce/,
    },
  ],
  "it stops in time, within its limits": [
    {
      what: "a longer shutdown_timeout",
      sources: config("shutdown_timeout: 30s", "shutdown_timeout: 60s"),
      says: /grace is not over 65 s/,
    },
    { what: "a shorter grace", resources: (r) => pod(r).terminationGracePeriodSeconds = 35, says: /grace/ },
    { what: "no grace", resources: (r) => delete pod(r).terminationGracePeriodSeconds, says: /grace/ },
    {
      what: "less memory than at rest",
      resources: (r) => at(container(r), "resources", "requests").memory = "64Mi",
      says: /than at rest/,
    },
    {
      what: "less memory than at the peak",
      resources: (r) => at(container(r), "resources", "limits").memory = "512Mi",
      says: /near the peak/,
    },
    {
      what: "all cores",
      resources: (r) => delete at(container(r), "resources", "limits").cpu,
      says: /cores/,
    },
    {
      what: "volumes that go",
      resources: (r) => delete set(r).persistentVolumeClaimRetentionPolicy,
      says: /volumes are deleted/,
    },
    {
      what: "a budget that blocks",
      resources: (r) => at(one(r, "PodDisruptionBudget"), "spec").maxUnavailable = 0,
      says: /drained/,
    },
    {
      what: "clients behind a node's address",
      resources: (r) => service(r).externalTrafficPolicy = "Cluster",
      says: /SPF/,
    },
    {
      what: "two replicas with one public_url",
      resources: (r) => set(r).replicas = 2,
      says: /another replica/,
    },
    {
      what: "a public_url of another port",
      names: ["replicas"],
      sources: config("port: 3000", "port: 3001"),
      says: /another port/,
    },
  ],
  "the network lets in and out who should": [
    {
      what: "no policy for going out",
      resources: (r) => policy(r).policyTypes.pop(),
      says: /both directions/,
    },
    { what: "metrics for all", resources: (r) => delete policy(r).ingress[2].from, says: /metrics is open/ },
    {
      what: "metrics for any namespace",
      resources: (r) => policy(r).ingress[2].from = [{ namespaceSelector: {} }],
      says: /metrics is open/,
    },
    {
      what: "metrics for another namespace",
      resources: (r) => policy(r).ingress[2].from[0].namespaceSelector.matchLabels = { a: "b" },
      says: /than monitoring/,
    },
    { what: "the API for all", resources: (r) => delete policy(r).ingress[1].from, says: /api is open/ },
    {
      what: "the API for all, by another policy",
      names: ["ingress"],
      resources: (r) => delete at(one(r, "NetworkPolicy", "gomail-ingress"), "spec", "ingress", 0).from,
      says: /api is open/,
    },
    {
      what: "every port at once",
      resources: (r) => delete policy(r).ingress[0].ports,
      says: /one rule has ports/,
    },
    {
      what: "mail from some",
      resources: (r) => policy(r).ingress[0].from = [{ ipBlock: {} }],
      says: /smtp is open/,
    },
    { what: "no mail", resources: (r) => policy(r).ingress.shift(), says: /nobody may call smtp/ },
    {
      what: "a cloud's credentials",
      resources: (r) => policy(r).egress[1].to[1].ipBlock.except.pop(),
      says: /fd00:ec2::254\/128 is not kept/,
    },
    { what: "no names", resources: (r) => policy(r).egress.shift(), says: /UDP 53 has no way/ },
    {
      what: "a receiver elsewhere",
      sources: config("app.example.com/", "app.example.com:8443/"),
      says: /TCP 8443 has no way/,
    },
    {
      what: "a smarthost elsewhere",
      sources: config("outbound_transport: direct", "outbound_transport: postfix"),
      says: /TCP 10026 has no way/,
    },
  ],
};

/** Every resource, and the example, which is none. */
const documentsOf = ({ resources, sources }: Cluster) => [...resources, ...sources.base.files[EXAMPLE_FILE]!];

const SCHEMA_CHANGES: readonly Change[] = [
  {
    what: "a word for a number",
    resources: (r) => set(r).replicas = "three",
    says: /replicas must be integer/,
  },
  {
    what: "a misspelt key",
    resources: (r) => pod(r).restartpolicy = "Always",
    says: /spec\.template\.spec\.restartpolicy is not in/,
  },
  {
    what: "a misspelt key at the top",
    resources: (r) => Object.assign(one(r, "Service"), { Spec: {} }),
    says: /Spec is not in/,
  },
  {
    what: "a misspelt key in a list",
    resources: (r) => at(container(r), "ports", 0).hostport = 25,
    says: /containers\[0\]\.ports\[0\]\.hostport/,
  },
  {
    what: "a misspelt key of a ServiceMonitor",
    names: ["monitoring"],
    resources: (r) => at(one(r, "ServiceMonitor"), "spec", "endpoints", 0).intervall = "1m",
    says: /intervall/,
  },
  {
    what: "a certificate without a Secret",
    names: ["certificate"],
    resources: (r) => delete at(one(r, "Certificate"), "spec").secretName,
    says: /secretName/,
  },
  {
    what: "a policy without a pod",
    resources: (r) => policy(r).podSelector = "gomail",
    says: /podSelector must be object/,
  },
  {
    what: "a kind without a schema",
    resources: (r) => r.push({ apiVersion: "v1", kind: "Pod", metadata: { name: "a" } }),
    says: /no schema/,
  },
];

test("Kubernetes: every document fits the schema of its kind, and a changed one does not", async () => {
  const changed = SCHEMA_CHANGES.map(({ names = [], resources }) => clusterOf(sources, names, resources));
  const right = [...SETS, [RESTORE]];
  const sets = [...right.map((names) => clusterOf(sources, names)), ...changed].map(documentsOf);
  const found = await schemaProblems(sets);
  assertEquals(found.length, sets.length);
  assertEquals(found.slice(0, right.length), right.map(() => []));
  for (const [i, { what, says }] of SCHEMA_CHANGES.entries()) {
    assertMatch(found[right.length + i]!.join("\n"), says, `${what}: nobody noticed`);
  }
});

for (const [name, changes] of Object.entries(CHANGES)) {
  test(`Kubernetes: that "${name}" notices what it should`, () => {
    for (const change of changes) {
      const changed = structuredClone(sources);
      change.sources?.(changed);
      const found = RULES[name]!(clusterOf(changed, change.names ?? [], change.resources));
      assertMatch(found.join("\n"), change.says, `${change.what}: nobody noticed`);
    }
  });
}

test("Kubernetes: each rule is shown something wrong", () => {
  assertEquals(Object.keys(CHANGES).sort(), Object.keys(RULES).sort());
});

const IMAGE_CHANGES: readonly [what: string, change: (sources: Sources) => void, says: RegExp][] = [
  ["secrets left", containerfile("&& find /etc/gomail -mindepth 1 -delete", ""), /stay in a layer/],
  ["secrets removed too late", containerfile("&& find /etc", "\n\nRUN find /etc"), /stay in a layer/],
  ["the package copied", containerfile("WORKDIR", "COPY gomail.deb /tmp/\nWORKDIR"), /package stays/],
  ["another base", containerfile("bookworm-slim", "latest"), /another base/],
  [
    "a shell in front",
    containerfile('ENTRYPOINT ["/usr/bin/gomail"]', "ENTRYPOINT /usr/bin/gomail"),
    /entrypoint/,
  ],
  ["another signal", containerfile("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGINT"), /stop signal/],
  ["no place of its own", containerfile("WORKDIR /var/lib/gomail", "WORKDIR /"), /may touch more/],
  ["another version", (s) => s.base.kustomization.images[0]!.newTag = "latest", /the tag is not/],
];

test("Kubernetes: that the image's rule notices what it should", () => {
  for (const [what, change, says] of IMAGE_CHANGES) {
    const changed = structuredClone(sources);
    change(changed);
    assertMatch(imageRule(clusterOf(changed, []), meta.version).join("\n"), says, what);
  }
  const command = clusterOf(sources, [], (r) => container(r).args = ["demo"] as never);
  assertMatch(imageRule(command, meta.version).join("\n"), /args/);
  const image = clusterOf(sources, [], (r) => container(r).image = "other" as never);
  assertMatch(imageRule(image, meta.version).join("\n"), /no image to replace/);
});

/** What each control of the standard forbids. */
const FORBIDDEN: Readonly<
  Record<string, (pod: Record<string, Tree>, container: Record<string, Tree>) => void>
> = {
  "HostProcess": (_, own) => own.securityContext!.windowsOptions = { hostProcess: true },
  "Host namespaces": (spec) => Object.assign(spec, { hostNetwork: true }),
  "Privileged containers": (_, own) => own.securityContext!.privileged = true,
  "Capabilities of the baseline": (_, own) => at(own, "securityContext", "capabilities").add = ["SYS_ADMIN"],
  "HostPath volumes": (spec) => list(spec, "volumes").push({ name: "host", hostPath: { path: "/" } }),
  "Host ports": (_, own) => list(own, "ports")[0]!.hostPort = 25,
  "Host of probes and hooks": (_, own) => at(own, "livenessProbe", "httpGet").host = "10.0.0.1",
  "AppArmor": (spec) => spec.securityContext!.appArmorProfile = { type: "Unconfined" },
  "SELinux": (spec) => spec.securityContext!.seLinuxOptions = { type: "spc_t" },
  "/proc mount type": (_, own) => own.securityContext!.procMount = "Unmasked",
  "Sysctls": (spec) => spec.securityContext!.sysctls = [{ name: "kernel.msgmax", value: "1" }],
  "Volume types": (spec) => list(spec, "volumes").push({ name: "share", nfs: { server: "a", path: "/" } }),
  "Privilege escalation": (_, own) => delete own.securityContext!.allowPrivilegeEscalation,
  "Running as non-root": (spec) => delete spec.securityContext!.runAsNonRoot,
  "Running as non-root user": (_, own) => own.securityContext!.runAsUser = 0,
  "Seccomp": (spec) => spec.securityContext!.seccompProfile = { type: "Unconfined" },
  "Capabilities": (_, own) => at(own, "securityContext", "capabilities").drop = ["NET_RAW"],
};

test("Kubernetes: each control of the restricted standard refuses what it forbids", () => {
  assertEquals(Object.keys(FORBIDDEN), Object.keys(CONTROLS));
  for (const [control, forbid] of Object.entries(FORBIDDEN)) {
    const spec = structuredClone(pod(rendered(sources)));
    assertEquals(podSecurityProblems(spec), []);
    forbid(spec, spec.containers[0]);
    assertMatch(podSecurityProblems(spec).join("\n"), new RegExp(`^${control}: `, "m"), control);
    // A container that runs first is bound as well.
    const first = structuredClone(pod(rendered(sources)));
    first.initContainers = [{ name: "first" }];
    assertMatch(podSecurityProblems(first).join("\n"), /container first/);
  }
});

test("Kubernetes: README.md's command makes the alerts and recording rules resources of the operator", async () => {
  const readme = await Deno.readTextFile(`${FOLDER}README.md`);
  const [command] = readme.match(/^for rules in [^]*?^done$/m) ?? [];
  assert(command !== undefined);
  const monitoring = `${FOLDER}../monitoring`;
  const { code, out, err } = await run("bash", [
    "-euc",
    `kubectl() { echo "# $*"; cat; echo ---; }\n${
      command.replaceAll("path/to/packaging/monitoring", monitoring)
    }`,
  ]);
  assertEquals([code, err], [0, ""]);
  assertEquals(out.match(/^# .*$/gm)?.filter((line) => line.includes("apply")), [
    "# -n gomail apply -f -",
    "# -n gomail apply -f -",
  ]);
  const made = documents(out);
  assertEquals(made.map(({ metadata }) => metadata.name), ["gomail-recording", "gomail-alerts"]);
  assertEquals(await schemaProblems([made]), [[]]);
  for (const { metadata, spec } of made) {
    assertEquals(spec, parse(await Deno.readTextFile(`${monitoring}/${metadata.name}.yml`)));
  }
});

test("Kubernetes: README.md names every component, and the manifests' names", async () => {
  const readme = await Deno.readTextFile(`${FOLDER}README.md`);
  for (const name of [...COMPONENTS, RESTORE]) assert(readme.includes(`components/${name}`), name);
  for (
    const name of ["gomail-secrets", "gomail-client=true", "externalTrafficPolicy", `gomail:${meta.version}`]
  ) {
    assert(readme.includes(name), name);
  }
});

test("every patch that the README has one type is about something that is there", async () => {
  const text = await Deno.readTextFile(`${FOLDER}README.md`);
  const resources = rendered(await readSources(), COMPONENTS);
  const patches = [...text.matchAll(/^```yaml\n([^]*?)^```$/gm)].flatMap(([, yaml]) => {
    const read = parse(yaml!) as Tree | Tree[];
    return Array.isArray(read) ? read : list(read, "patches");
  });
  const paths = patches.flatMap(({ target, patch }) =>
    (parse(String(patch)) as Tree[]).map(({ op, path }) => {
      const resource = one(resources, String(at(target, "kind")));
      const parts = String(path).slice(1).split("/");
      const last = parts.pop()!;
      const holder = at(resource, ...parts);
      const there = op === "add" && last === "-" ? Array.isArray(holder) : at(holder, last) !== undefined;
      return `${resource.kind} ${path}: ${there ? "there" : "not there"}`;
    })
  );
  assert(paths.length >= 5, `only ${paths.length}`);
  assertEquals(paths.filter((line) => line.endsWith("not there")), []);
});
