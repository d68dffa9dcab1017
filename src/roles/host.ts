//! One role's life inside the process: waiting, starting, running, then ended or failed. A failure becomes its state and
//! its end; it is logged here, once, and never thrown, so that the other roles go on.

import type { AnyElysia } from "elysia";

import type { RoleName } from "../config/role-names.ts";
import { messageOf, PgstreamError } from "../core/errors.ts";
import type { Part } from "../http/app.ts";
import type { Readiness } from "../http/health.ts";
import type { Role, RoleContext, RunningRole } from "./role.ts";
import { whenAborted } from "./when-aborted.ts";

/** How a role's life ended. */
export type Ending = "ended" | { readonly error: unknown };

export interface HostedRole extends Part {
  readonly name: RoleName;
  readonly routes: AnyElysia | null;
  /** Whether it still has to start. */
  readonly isPending: () => boolean;
  readonly hasFailed: () => boolean;
  /** Never rejects. */
  readonly end: Promise<Ending>;
  /** Never rejects; resolves when the role has let go of everything. */
  readonly stop: () => Promise<Ending>;
}

export interface HostOptions {
  readonly load: () => Promise<Role>;
  /** What has to happen first; starting is given up when the signal aborts before it. */
  readonly gate: Promise<void>;
  /** Called whenever routes or state may have changed. */
  readonly onChange: () => void;
}

interface StartOptions extends HostOptions {
  readonly onStart: () => void;
}

type State =
  | { readonly is: "waiting" | "starting" | "ended" }
  | { readonly is: "running"; readonly role: RunningRole }
  | { readonly is: "failed"; readonly code: string };

const notReady = (reason: string): Readiness => ({ ready: false, reason, details: {} });

const statusOf = (state: State): Readiness => {
  switch (state.is) {
    case "waiting":
      return notReady("waits for the migrator");
    case "starting":
      return notReady("is starting");
    case "running":
      return state.role.status();
    case "ended":
      return { ready: true, reason: null, details: { ended: true } };
    case "failed":
      // The message stays in the log: whoever may probe need not learn names of hosts and tables.
      return notReady(`failed: ${state.code}`);
  }
};

const startRole = async (context: RoleContext, options: StartOptions): Promise<RunningRole | null> => {
  const { signal, logger } = context;
  await Promise.race([options.gate, whenAborted(signal)]);
  if (signal.aborted) return null;
  options.onStart();
  try {
    return await (
      await options.load()
    )(context);
  } catch (error) {
    if (!signal.aborted) throw error;
    logger.debug({ error }, "the role gave up starting");
    return null;
  }
};

export const hostRole = (name: RoleName, context: RoleContext, options: HostOptions): HostedRole => {
  const logger = context.logger.child({ role: name });
  let state: State = { is: "waiting" };
  const become = (next: State): void => {
    state = next;
    options.onChange();
  };
  const fail = (error: unknown): Ending => {
    // A failure often shows twice, in `done` and in `stop`; it is told once.
    if (state.is !== "failed") {
      const code = error instanceof PgstreamError ? error.code : "internal";
      // Whoever sets things wrong needs no stack.
      const why = code === "invalid_config" ? { reason: messageOf(error) } : { error };
      logger.error({ code, ...why }, "the role failed");
      become({ is: "failed", code });
    }
    return { error };
  };

  const started = startRole(
    { ...context, logger },
    { ...options, onStart: () => become({ is: "starting" }) },
  );
  const live = async (): Promise<Ending> => {
    try {
      const role = await started;
      if (role !== null) {
        become({ is: "running", role });
        logger.info({}, "the role runs");
        await role.done;
      }
      become({ is: "ended" });
      return "ended";
    } catch (error) {
      return fail(error);
    }
  };
  const end = live();
  const stop = async (): Promise<Ending> => {
    try {
      // What kept it from starting is told by `live`.
      const role = await started.catch(() => null);
      await role?.stop();
    } catch (error) {
      return fail(error);
    }
    return await end;
  };
  // The others go on when one fails, so what it holds must go back now.
  void end.then(async (ending) => (ending === "ended" ? ending : await stop()));
  return {
    name,
    status: () => statusOf(state),
    get routes() {
      return state.is === "running" ? (state.role.routes ?? null) : null;
    },
    isPending: () => state.is === "waiting" || state.is === "starting",
    hasFailed: () => state.is === "failed",
    end,
    stop,
  };
};
