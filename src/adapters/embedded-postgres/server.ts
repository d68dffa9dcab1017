//! A real PostgreSQL server as our child process, for the demo and the tests. Listens on 127.0.0.1 only, with full
//! durability. It ends when it is closed, and also when this process dies without closing it: a watchdog sees to that.

import { chown, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { messageOf, PgstreamError } from "../../core/errors.ts";
import { serverAccount } from "./account.ts";
import { type PostgresBinaries, reachableBinaries } from "./binaries.ts";
import { prepareDataFolder } from "./data-folder.ts";
import { findFreePort } from "./free-port.ts";
import { bringUp, type StopMode, takeDown } from "./lifecycle.ts";
import type { Postmaster, ServerSettings } from "./postmaster.ts";
import type { Account } from "./run-command.ts";
import { startWatchdog, type Watchdog } from "./watchdog.ts";

export interface ServerOptions {
  readonly binaries: PostgresBinaries;
  readonly password: string;
  /** Kept, and found again by the next server. Absent: a temporary one that goes with the server. */
  readonly dataDir?: string;
  /** Default `postgres`. */
  readonly superuser?: string;
  /** Absent: a free one, kept across restarts. */
  readonly port?: number;
  /** As in postgresql.conf, for every start. */
  readonly settings?: ServerSettings;
  /** Each line of the server's log. */
  readonly onLog?: (line: string) => void;
  /** Where a copy of the binaries goes when the server's account cannot reach them. */
  readonly cacheDir?: string;
}

export interface PostgresServer extends AsyncDisposable {
  /** A connection URL of the superuser, with the password. Default database: `postgres`. */
  readonly url: (database?: string) => string;
  readonly port: number;
  readonly dataDir: string;
  /** For example "18.4". */
  readonly version: string;
  /** Of the postmaster; undefined while it is stopped. */
  readonly pid: () => number | undefined;
  /** Resolves when it accepts connections; does nothing while it runs. @throws PgstreamError database_unavailable */
  readonly start: () => Promise<void>;
  /** Resolves when it has ended; does nothing while it is stopped. Default: `fast`. */
  readonly stop: (mode?: StopMode) => Promise<void>;
  readonly restart: (mode?: StopMode) => Promise<void>;
  /** SIGKILL to the postmaster alone, as the out-of-memory killer does it. Its sessions end a moment later. */
  readonly kill: () => Promise<void>;
  /** Stops it for good and removes a temporary data folder. Safe twice. */
  readonly close: () => Promise<void>;
}

/** Where a server lives, as whom, and who ends it should we die. */
interface Place {
  readonly dataDir: string;
  readonly temporaryDir?: string;
  readonly account: Account | undefined;
  readonly watchdog: Watchdog;
}

const makeTemporaryDir = async (): Promise<string> => {
  try {
    return await mkdtemp(join(tmpdir(), "pgstream-postgres-"));
  } catch (cause) {
    throw new PgstreamError(
      "invalid_config",
      `TMPDIR: no folder can be made in ${tmpdir()}: ${messageOf(cause)}`,
      {
        cause,
      },
    );
  }
};

const makePlace = async (dataDir: string | undefined): Promise<Place> => {
  if (dataDir !== undefined) {
    const account = await serverAccount(dataDir);
    return { dataDir, account, watchdog: startWatchdog({ account, dataDir }) };
  }
  const temporaryDir = await makeTemporaryDir();
  const account = await serverAccount(temporaryDir);
  if (account !== undefined) await chown(temporaryDir, account.uid, account.gid);
  const place = { dataDir: join(temporaryDir, "data"), temporaryDir, account };
  return { ...place, watchdog: startWatchdog(place) };
};

const leavePlace = async (place: Place): Promise<void> => {
  await place.watchdog.close();
  if (place.temporaryDir !== undefined) await rm(place.temporaryDir, { recursive: true, force: true });
};

/** Starts on `port` for the first time, then on the same port again and again. */
const makeControls = (options: ServerOptions, place: Place, binDir: string) => {
  let running: Postmaster | undefined;
  let port = options.port;
  const current = (): Postmaster | undefined => (running?.hasExited() === true ? undefined : running);
  const start = async (): Promise<void> => {
    if (current() !== undefined) return;
    const firstTime = options.port === undefined ? "move" : "give-up";
    const up = await bringUp({
      binDir,
      dataDir: place.dataDir,
      account: place.account,
      // A socket would need a folder that both accounts reach, and a short path: TCP is enough.
      settings: { ...options.settings, listen_addresses: "127.0.0.1", unix_socket_directories: "" },
      onLog: options.onLog ?? (() => {}),
      port: port ?? (await findFreePort()),
      whenPortTaken: running === undefined ? firstTime : "wait",
      onSpawn: place.watchdog.watch,
    });
    ({ postmaster: running, port } = up);
    // Its number may be given to another process once it has ended.
    void up.postmaster.exited.then(() => {
      if (running === up.postmaster) place.watchdog.watch(undefined);
    });
  };
  const stop = async (mode: StopMode = "fast"): Promise<void> => {
    const postmaster = current();
    if (postmaster !== undefined) await takeDown(postmaster, mode);
  };
  const kill = async (): Promise<void> => {
    current()?.signal("SIGKILL");
    await running?.exited;
  };
  return { start, stop, kill, pid: () => current()?.pid, port: () => port ?? 0 };
};

/**
 * Makes the data folder if need be, and starts the server.
 *
 * @throws PgstreamError database_unavailable when it does not come up, invalid_config when another major version made the folder
 */
export const startServer = async (options: ServerOptions): Promise<PostgresServer> => {
  const superuser = options.superuser ?? "postgres";
  const place = await makePlace(options.dataDir);
  const { dataDir, account } = place;
  try {
    const binaries = await reachableBinaries(options.binaries, account, options.cacheDir);
    await prepareDataFolder(dataDir, { binaries, account, superuser, password: options.password });
    const { start, stop, kill, pid, port } = makeControls(options, place, binaries.binDir);
    await start();
    const login = `${encodeURIComponent(superuser)}:${encodeURIComponent(options.password)}`;
    const close = async (): Promise<void> => {
      await stop();
      await leavePlace(place);
    };
    return {
      url: (database = "postgres") =>
        `postgres://${login}@127.0.0.1:${port()}/${encodeURIComponent(database)}`,
      port: port(),
      dataDir,
      version: binaries.version,
      pid,
      start,
      stop,
      restart: async (mode) => {
        await stop(mode);
        await start();
      },
      kill,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await leavePlace(place);
    throw error;
  }
};
