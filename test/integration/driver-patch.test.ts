//! What patches/postgres@3.4.9.patch is for, each change shown to be needed by the driver as it was published. When a new
//! version of the driver passes unpatched, the patch can go.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { isDriverPatched } from "../../src/adapters/postgres/driver-patch.ts";
import { createTestDatabase, type TestDatabase } from "../support/postgres.ts";

const root = join(import.meta.dir, "..", "..");
const patched = dirname(Bun.resolveSync("postgres/package.json", root));

interface Hunk {
  readonly file: string;
  readonly before: string;
  readonly after: string;
}

const hunksOf = (patch: string): readonly Hunk[] =>
  patch.split(/^diff --git .*$/m).flatMap((part) => {
    const file = /^\+\+\+ b\/(.*)$/m.exec(part)?.[1] ?? "";
    return part
      .split(/^@@.*\n/m)
      .slice(1)
      .map((hunk) => {
        const side = (sign: string): string =>
          hunk
            .split("\n")
            .filter((line) => line.startsWith(" ") || line.startsWith(sign))
            .map((line) => line.slice(1))
            .join("\n");
        return { file, before: side("-"), after: side("+") };
      });
  });

const undoPatch = async (folder: string): Promise<void> => {
  for (const { file, before, after } of hunksOf(
    await Bun.file(join(root, "patches", "postgres@3.4.9.patch")).text(),
  )) {
    const text = await Bun.file(join(folder, file)).text();
    expect(text).toContain(after);
    await Bun.write(
      join(folder, file),
      text.replace(after, () => before),
    );
  }
};

let database: TestDatabase;
let unpatched: string;
beforeAll(async () => {
  database = await createTestDatabase();
  unpatched = await mkdtemp(join(tmpdir(), "pgstream-driver-"));
  await cp(patched, unpatched, { recursive: true });
  await undoPatch(unpatched);
}, 60_000);
afterAll(async () => {
  await rm(unpatched, { recursive: true });
  await database.drop();
});

const outcome = async (driver: string, which: string): Promise<string> => {
  const child = Bun.spawn(
    [process.execPath, join(root, "test", "support", "driver-program.ts"), driver, database.url, which],
    { cwd: root, stdin: "ignore", stdout: "pipe", stderr: "pipe", timeout: 30_000 },
  );
  const [said, errors, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return code === 0 ? said.trim() : (/\w*Error: .*/.exec(errors)?.[0] ?? `exit code ${code}`);
};

const triesMax = 20;

describe("a connection that is", () => {
  const unpatchedOutcomes = {
    // It would never write again: the timer of the write that was lost is still set.
    "lost while a write is scheduled": "wedged",
    // It would dial hundreds of times a second, and never tell.
    "refused by a peer that accepts and hangs up": "wedged",
    // It would take a new connection for the second statement, which nobody closes.
    "ended while a second statement waits for it": "left open",
    // Its end would wait for the connection that never was, for as long as it may.
    "ended while it is refused": "wedged",
    // Its socket would be opened all the same, and left so for as long as connecting may take.
    "ended while it is opened": "wedged",
    // It would take the rows that came for all that there are.
    "the first of several hosts, and lost in the middle of its first answer": "answered in part",
    // It would never try the others.
    "to the first of several hosts, which says nothing,": "given up",
    // It would dial them for ever, hundreds of times a second.
    "refused by all of several hosts": "wedged",
    // It would put as many holes in front of the next answer as rows had come before the error.
    "failed in the middle of its rows": "answered 3 rows",
    // It would copy each chunk of a reply for the sake of the row that its beginning belongs to.
    "sent a long reply": "copied over",
    // It would copy it three times before it is sent.
    "given a long value": "copied over",
  } as const;
  for (const [which, unpatchedOutcome] of Object.entries(unpatchedOutcomes)) {
    test(`${which} leaves the client well, and without the patch does not`, async () => {
      expect(await outcome(patched, which)).toBe("well");
      // Some of it is a race, which the published driver wins now and then.
      let seen = "";
      for (let n = 0; n < triesMax && seen !== unpatchedOutcome; n += 1)
        seen = await outcome(unpatched, which);
      expect(seen).toBe(unpatchedOutcome);
    }, 60_000);
  }
});

test("that the patch is missing is seen", async () => {
  const { default: driver } = (await import(join(unpatched, "src", "index.js"))) as { default: object };
  expect(isDriverPatched(driver)).toBe(false);
  expect(isDriverPatched()).toBe(true);
});
