/**
 * The program as a few JavaScript files: `main.js`, the two workers, and what they share. Needed because the
 * compiler overflows on a test file that a library carries, and because a bundle starts in two thirds of the
 * time. Runs in a copy of the sources with a node_modules of its own, which esbuild wants and nobody else does;
 * so nothing of the machine, and nothing uncommitted beside the sources, gets into the result: the same sources
 * give the same bytes.
 */

import { build, type Plugin, stop } from "esbuild";

/** The JavaScript in one of our workers' files, by the path that the source names it with. */
const WORKERS: Readonly<Record<string, string>> = {
  "./mail_worker.ts": "mail_worker.js",
  "./worker.ts": "store_worker.js",
};

/**
 * The libraries that are CommonJS expect these. On Deno 2.7 they also need Node's timers: decided when it runs, so
 * that the bundle is the same for every runtime.
 */
const BANNER = `import { createRequire as createRequireOfBundle } from "node:module";
import * as nodeTimersOfBundle from "node:timers";
import { dirname as dirnameOfBundle } from "node:path";
import { fileURLToPath as pathOfBundle } from "node:url";
const require = createRequireOfBundle(import.meta.url);
const __filename = pathOfBundle(import.meta.url);
const __dirname = dirnameOfBundle(__filename);
const { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate } =
  Deno.version.deno.startsWith("2.7.") ? nodeTimersOfBundle : globalThis;`;

/** Points worker URLs at the bundled workers, which lie beside whatever file names them. */
const workerUrls: Plugin = {
  name: "worker-urls",
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/(daemon\/mail_pool|store\/mod)\.ts$/ }, async ({ path }) => {
      const text = await Deno.readTextFile(path);
      let found = 0;
      const contents = text.replace(/new URL\("(\.\/[a-z_]+\.ts)", import\.meta\.url\)/g, (_, name) => {
        if (!WORKERS[name]) throw new Error(`${path} starts a worker that the bundle does not know: ${name}`);
        found++;
        return `new URL("./${WORKERS[name]}", import.meta.url)`;
      });
      if (found !== 1) throw new Error(`${path} starts ${found} workers; the bundle expects one`);
      return { contents, loader: "ts" };
    });
  },
};

/** deno.json's aliases that esbuild can't read: `npm:name@version/path` -> `name/path`. */
function aliases(imports: Record<string, string>): Record<string, string> {
  const entries = Object.entries(imports).map(([name, specifier]) =>
    [name, specifier.replace(/^npm:(@?[^@]+)@[^/]+/, "$1")] as const
  );
  return Object.fromEntries(entries.filter(([name, target]) => name !== target));
}

/** Bundles the sources in `dir` into `${dir}/bundle`. `commit` is null outside a checkout. */
export async function bundle(dir: string, commit: string | null): Promise<void> {
  const { imports } = JSON.parse(await Deno.readTextFile(`${dir}/deno.json`));
  await build({
    absWorkingDir: dir,
    entryPoints: {
      main: "main.ts",
      mail_worker: "src/daemon/mail_worker.ts",
      store_worker: "src/store/worker.ts",
    },
    outdir: "bundle",
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "esnext",
    charset: "utf8",
    legalComments: "inline",
    logLevel: "warning",
    alias: aliases(imports),
    banner: { js: BANNER },
    define: { GOMAIL_COMMIT: JSON.stringify(commit) },
    plugins: [workerUrls],
  });
  await stop();
}

if (import.meta.main) await bundle(Deno.cwd(), Deno.args[0] ?? null);
