/**
 * The restricted Pod Security Standard, control by control as its page has them (kubernetes.io, "Pod Security
 * Standards"): the baseline's first, then what restricted adds. Written out, so that a pod that a namespace would
 * refuse is refused here.
 */

import { at, list, type Tree } from "./manifests.ts";

const VOLUMES = [
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "persistentVolumeClaim",
  "projected",
  "secret",
];
const SYSCTLS = [
  "kernel.shm_rmid_forced",
  "net.ipv4.ip_local_port_range",
  "net.ipv4.ip_unprivileged_port_start",
  "net.ipv4.tcp_syncookies",
  "net.ipv4.ping_group_range",
  "net.ipv4.ip_local_reserved_ports",
  "net.ipv4.tcp_keepalive_time",
  "net.ipv4.tcp_fin_timeout",
  "net.ipv4.tcp_keepalive_intvl",
  "net.ipv4.tcp_keepalive_probes",
];
const SELINUX_TYPES = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

const named = (container: Tree) => `container ${container.name}`;

/** Containers of every kind; all of them are bound. */
function containersOf(pod: Tree): Tree[] {
  return ["initContainers", "containers", "ephemeralContainers"].flatMap((key) => list(pod, key));
}

/** The pod's security context and each container's, with whose it is. */
function contexts(pod: Tree): { of: string; context: Tree }[] {
  const own = containersOf(pod).map((container) => ({ of: named(container), at: container.securityContext }));
  return [{ of: "pod", at: pod.securityContext }, ...own].map(({ of, at }) => ({
    of,
    context: (at ?? {}) as Tree,
  }));
}

type Control = (pod: Tree) => string[];

/** Of a pod's spec; each gives what is wrong. */
export const CONTROLS: Readonly<Record<string, Control>> = {
  "HostProcess": (pod) =>
    contexts(pod).filter(({ context }) => at(context, "windowsOptions", "hostProcess")).map(({ of }) => of),
  "Host namespaces": (pod) => ["hostNetwork", "hostPID", "hostIPC"].filter((key) => pod[key]),
  "Privileged containers": (pod) =>
    contexts(pod).filter(({ context }) => context.privileged).map(({ of }) => of),
  "Capabilities of the baseline": (pod) =>
    containersOf(pod).filter((one) => list(one, "securityContext", "capabilities", "add").length > 0).map(
      named,
    ),
  "HostPath volumes": (pod) =>
    list(pod, "volumes").filter((one) => "hostPath" in one).map(({ name }) => `${name}`),
  "Host ports": (pod) =>
    containersOf(pod).flatMap((one) => list(one, "ports")).filter((port) => port.hostPort).map(({ name }) =>
      `port ${name}`
    ),
  "Host of probes and hooks": (pod) =>
    containersOf(pod).filter((one) => /"host":/.test(JSON.stringify(one))).map(named),
  "AppArmor": (pod) =>
    contexts(pod).filter(({ context }) => at(context, "appArmorProfile", "type") === "Unconfined").map((
      { of },
    ) => of),
  "SELinux": (pod) =>
    contexts(pod).filter(({ context: { seLinuxOptions: options } }) =>
      at(options, "user") || at(options, "role") || !SELINUX_TYPES.includes(at(options, "type") ?? "")
    ).map(({ of }) => of),
  "/proc mount type": (pod) =>
    contexts(pod).filter(({ context }) => (context.procMount ?? "Default") !== "Default").map(({ of }) => of),
  "Sysctls": (pod) =>
    list(pod, "securityContext", "sysctls").filter(({ name }) => !SYSCTLS.includes(name as string)).map((
      { name },
    ) => `${name}`),
  "Volume types": (pod) =>
    list(pod, "volumes").filter((one) =>
      !Object.keys(one).every((key) => key === "name" || VOLUMES.includes(key))
    )
      .map(({ name }) => `${name}`),
  "Privilege escalation": (pod) =>
    containersOf(pod).filter((one) => at(one, "securityContext", "allowPrivilegeEscalation") !== false).map(
      named,
    ),
  "Running as non-root": (pod) => {
    const pods = at(pod, "securityContext", "runAsNonRoot");
    return containersOf(pod).filter((one) => (at(one, "securityContext", "runAsNonRoot") ?? pods) !== true)
      .map(named);
  },
  "Running as non-root user": (pod) =>
    contexts(pod).filter(({ context }) => context.runAsUser === 0).map(({ of }) => of),
  "Seccomp": (pod) => {
    const pods = at(pod, "securityContext", "seccompProfile", "type");
    const isFine = (one: Tree) =>
      ["RuntimeDefault", "Localhost"].includes(at(one, "securityContext", "seccompProfile", "type") ?? pods);
    return containersOf(pod).filter((one) => !isFine(one)).map(named);
  },
  "Capabilities": (pod) =>
    containersOf(pod).filter((one) => {
      const { add = [], drop = [] } = (at(one, "securityContext", "capabilities") ?? {}) as Record<
        string,
        string[]
      >;
      return !drop.includes("ALL") || add.some((name) => name !== "NET_BIND_SERVICE");
    }).map(named),
};

export function podSecurityProblems(pod: Tree): string[] {
  return Object.entries(CONTROLS).flatMap(([control, check]) =>
    check(pod).map((what) => `${control}: ${what}`)
  );
}
