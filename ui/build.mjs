// Bundles src/ into ../rundial/server/static: index.html and hashed files under assets/. `--watch` rebuilds on change.
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const output = join(here, "..", "rundial", "server", "static");

const page = {
  name: "page",
  setup(build) {
    // Old hashes would pile up in the package otherwise.
    build.onStart(async () => {
      await rm(output, { recursive: true, force: true });
      await mkdir(output, { recursive: true });
    });
    build.onEnd(async (result) => {
      if (result.errors.length) return;
      const files = Object.keys(result.metafile.outputs).map((path) => basename(path));
      const named = (prefix, suffix) => "assets/" + files.find((file) => file.startsWith(prefix) && file.endsWith(suffix));
      const template = await readFile(join(here, "src", "index.html"), "utf8");
      const html = template
        .replace(/\{\{(icon|running|completed|failed)\}\}/g, (_, icon) => named(`${icon}-`, ".svg"))
        .replace("{{style}}", named("app-", ".css"))
        .replace("{{script}}", named("app-", ".js"));
      await writeFile(join(output, "index.html"), html);
      for (const file of files.filter((name) => /\.(js|css)$/.test(name))) {
        const size = gzipSync(await readFile(join(output, "assets", file))).length;
        console.log(`${file}  ${(size / 1000).toFixed(1)} kB gzip`);
      }
    });
  },
};

const context = await esbuild.context({
  absWorkingDir: here,
  entryPoints: [
    { in: "src/main.tsx", out: "app" },
    { in: "src/report/main.tsx", out: "report" },
    { in: "src/icon.svg", out: "icon" },
    ...["running", "completed", "failed"].map((icon) => ({ in: `src/icons/${icon}.svg`, out: icon })),
  ],
  loader: { ".svg": "copy" },
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  jsx: "automatic",
  jsxImportSource: "preact",
  entryNames: "[name]-[hash]",
  outdir: join(output, "assets"),
  metafile: true,
  legalComments: "none",
  logLevel: "warning",
  plugins: [page],
});

if (process.argv.includes("--watch")) {
  await context.watch();
  console.log("Watching src/ …");
} else {
  await context.rebuild();
  await context.dispose();
}
