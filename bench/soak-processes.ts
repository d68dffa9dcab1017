//! The processes of a soak: a publisher, a subscriber, and pgstream's own purger; each of its own, so that its memory is.

import { join } from "node:path";

import { DeliveryError } from "./context.ts";

export interface SoakPublisherJob {
  readonly database: string;
  readonly ratePerSecond: number;
}

export type SoakPublisherWord =
  | { readonly kind: "published"; readonly events: number }
  | { readonly kind: "end"; readonly events: number }
  | { readonly kind: "failed"; readonly reason: string };

export interface SoakPublisher extends AsyncDisposable {
  readonly pid: number;
  readonly published: () => number;
  /** Resolves with how many were published in all. @throws DeliveryError */
  readonly stop: () => Promise<number>;
}

export const startSoakPublisher = (job: SoakPublisherJob): SoakPublisher => {
  const end = Promise.withResolvers<number>();
  end.promise.catch(() => {}); // whoever stops it is told
  let published = 0;
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "soak-publisher.ts"), JSON.stringify(job)],
    {
      stdio: ["ignore", "inherit", "inherit"],
      ipc: (word: SoakPublisherWord) => {
        if (word.kind === "failed") end.reject(new DeliveryError(`publisher: ${word.reason}`));
        else published = word.events;
        if (word.kind === "end") end.resolve(word.events);
      },
    },
  );
  void child.exited.then((code) =>
    end.reject(new DeliveryError(`publisher: its process ended with code ${code}`)),
  );
  return {
    pid: child.pid,
    published: () => published,
    stop: async () => {
      child.send("stop");
      return await end.promise;
    },
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.exited;
    },
  };
};

const mainFile = join(import.meta.dir, "..", "src", "main.ts");
const environmentOf = (database: string, settings: Readonly<Record<string, string>>) => ({
  PATH: process.env["PATH"] ?? "",
  DATABASE_URL: database,
  HOST: "127.0.0.1",
  PORT: "0",
  LOG_FORMAT: "json",
  LOG_LEVEL: "warn",
  ...settings,
});

export interface RoleProcess extends AsyncDisposable {
  readonly pid: number;
}

/** One of pgstream's roles, as it is deployed. */
export const startRole = (
  role: string,
  database: string,
  settings: Readonly<Record<string, string>>,
): RoleProcess => {
  const child = Bun.spawn([process.execPath, mainFile, `--roles=${role}`], {
    env: environmentOf(database, settings),
    stdio: ["ignore", "ignore", "inherit"],
  });
  return {
    pid: child.pid,
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM");
      await child.exited;
    },
  };
};

/** @throws Error when it does not end well */
export const runRole = async (
  role: string,
  database: string,
  settings: Readonly<Record<string, string>>,
): Promise<void> => {
  const child = Bun.spawn([process.execPath, mainFile, `--roles=${role}`], {
    env: environmentOf(database, settings),
    stdio: ["ignore", "ignore", "inherit"],
  });
  const code = await child.exited;
  if (code !== 0) throw new Error(`the ${role} ended with code ${code}`);
};
