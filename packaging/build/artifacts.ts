/** What lies beside the executable in `dist/`: its bill of materials, and the sums to check a download with. */

import { createHash } from "node:crypto";
import { librariesIn } from "./copyright.ts";
import { DIST, ROOT } from "./paths.ts";
import { sbom } from "./sbom.ts";

export const SBOM_FILE = "gomail.cdx.json";

/** Every file that is made for users; what else lies in `dist/` is the build's own. */
const PUBLISHED = /^gomail(?:$|-[a-z0-9_-]+$|_.*\.deb$|\.cdx\.json$)/;

export async function writeSbom(denoVersion: string): Promise<void> {
  const lock = JSON.parse(await Deno.readTextFile(`${ROOT}/deno.lock`));
  const { version, license } = JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`));
  const inside = (await librariesIn(`${DIST}/bundle`)).map(({ name, version }) => `${name}@${version}`);
  const text = JSON.stringify(sbom({ lock, inside, version, license, denoVersion }), null, 2) + "\n";
  await Deno.writeTextFile(`${DIST}/${SBOM_FILE}`, text);
}

/** `dist/SHA256SUMS`, for `sha256sum --check`. Over the bundle's files too: they are what a rebuild can be compared by. */
export async function writeSums(): Promise<void> {
  const names = [...Deno.readDirSync(DIST)].map((entry) => entry.name).filter((name) => PUBLISHED.test(name));
  const parts = [...Deno.readDirSync(`${DIST}/bundle`)].map((entry) => `bundle/${entry.name}`);
  const lines: string[] = [];
  for (const name of [...names, ...parts].sort()) {
    const digest = createHash("sha256").update(await Deno.readFile(`${DIST}/${name}`)).digest("hex");
    lines.push(`${digest}  ${name}\n`);
  }
  await Deno.writeTextFile(`${DIST}/SHA256SUMS`, lines.join(""));
}
