/**
 * `deno task test:kubectl`, by hand: the overlay of packaging/kubernetes/README.md, put together by kubectl's own Kustomize:
 * that it takes it, that nothing of an example is left where the README says what to change, and that our rendering, by
 * which all else is checked, is its. No part of the suite, since Debian 12's kubectl is too old to know components.
 */

import { assert, assertEquals } from "@std/assert";
import { parse } from "@std/yaml";
import meta from "../../../deno.json" with { type: "json" };
import { run } from "../../support/program.ts";
import { test, withTempDir } from "../../support/test.ts";
import {
  at,
  COMPONENTS,
  CONFIG_FILE,
  containerOf,
  documents,
  FOLDER,
  list,
  one,
  podOf,
  readSources,
  rendered,
  type Resource,
  RESTORE,
  type Tree,
} from "./manifests.ts";

const [, overlay = ""] = /^```yaml\n(apiVersion: kustomize[^]*?)^```$/m.exec(
  await Deno.readTextFile(`${FOLDER}README.md`),
) ?? [];

/** As somebody would lay it out who types the README's; `extra` are more components. */
function withOverlay(
  extra: readonly string[],
  use: (resources: Resource[], names: string[]) => void,
): Promise<void> {
  return withTempDir(async (dir) => {
    const base = "path/to/packaging/kubernetes";
    await Deno.mkdir(`${dir}/path/to/packaging`, { recursive: true });
    assertEquals((await run("cp", ["-r", FOLDER, `${dir}/${base}`])).code, 0);
    await Deno.copyFile(FOLDER + CONFIG_FILE, `${dir}/${CONFIG_FILE}`);
    const more = extra.map((name) => `  - ${base}/components/${name}\n`).join("");
    await Deno.writeTextFile(
      `${dir}/kustomization.yaml`,
      overlay.replace("configMapGenerator:", `${more}configMapGenerator:`),
    );
    const { code, out, err } = await run("kubectl", ["kustomize", dir]);
    assertEquals([code, err], [0, ""]);
    const { components } = parse(overlay) as { components: string[] };
    const names = [...components.map((path) => path.split("/").pop()!), ...extra];
    use(documents(out), names);
  });
}

const kindsOf = (resources: readonly Resource[]) =>
  resources.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort();

test(
  "Kubernetes: the README's overlay is taken, and its names are everywhere",
  () =>
    withOverlay([], (resources) => {
      assertEquals(containerOf(resources).image, `YOUR-REGISTRY/gomail:${meta.version}`);
      const certificate = one(resources, "Certificate").spec;
      assertEquals(at(certificate, "dnsNames"), ["YOUR-MAIL-HOSTNAME"]);
      assertEquals(at(certificate, "issuerRef", "name"), "YOUR-ISSUER");
      const ingress = one(resources, "Ingress").spec;
      assertEquals(list(ingress, "rules").map(({ host }) => host), ["YOUR-API-NAME"]);
      assertEquals(list(ingress, "tls").map(({ hosts }) => hosts), [["YOUR-API-NAME"]]);
      // What is left of the examples is in the config alone, whose part "To be changed" it is.
      const others = resources.filter(({ kind }) => kind !== "ConfigMap");
      assert(!JSON.stringify(others).includes("example."));
    }),
);

for (const extra of [["replicas"], ["replicas", RESTORE]]) {
  test(
    `Kubernetes: kubectl puts together what the checks look at, with ${extra}`,
    async () => {
      const sources = await readSources();
      await withOverlay(extra, (resources, names) => {
        assertEquals(names.filter((name) => name !== RESTORE).sort(), COMPONENTS);
        const ours = rendered(sources, names);
        const config = resources.find(({ kind }) => kind === "ConfigMap")!;
        assertEquals(kindsOf(resources), [...kindsOf(ours), `ConfigMap ${config.metadata.name}`].sort());
        assertEquals(at(config, "data", CONFIG_FILE), sources.config);
        // The two names that it gives, and by name what it may order.
        containerOf(ours).image = `YOUR-REGISTRY/gomail:${meta.version}`;
        const projected = list(podOf(ours), "spec", "volumes").find((volume) => "projected" in volume);
        at(projected, "projected", "sources", 0, "configMap").name = config.metadata.name;
        // A variable may name those before it alone.
        const variables = list(containerOf(resources), "env").map(({ name }) => name);
        assert(variables.indexOf("POD_NAMESPACE") < variables.indexOf("MAIL_PUBLIC_URL"), `${variables}`);
        assert(variables.indexOf("POD_NAME") < variables.indexOf("MAIL_PUBLIC_URL"));
        for (const set of [resources, ours]) {
          const byName = (a: Tree, b: Tree) => `${a.name}` < `${b.name}` ? -1 : 1;
          list(podOf(set), "spec", "volumes").sort(byName);
          for (const key of ["volumeMounts", "env"]) list(containerOf(set), key).sort(byName);
        }
        for (const kind of ["StatefulSet", "PodDisruptionBudget", "ServiceMonitor"]) {
          assertEquals(one(resources, kind).spec, one(ours, kind).spec, kind);
        }
      });
    },
  );
}
