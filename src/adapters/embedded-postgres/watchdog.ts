//! Ends a server whose maker died without a word (SIGKILL, crash): a small shell that waits for its input to close.
//! It is told the server's process id on each start; an empty line means that nothing runs now.

import { type Account, childEnvironment } from "./run-command.ts";

// $1: the data folder; $2: a folder to remove afterwards, or nothing. A fast shutdown first; one that is not done in 10 s
// is cut short. The server removes its pid file as the last thing it does; asking for the process would find a zombie
// alive where nobody reaps it, as in many containers.
const script = `
trap '' HUP INT TERM
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ] && kill -INT "$pid" 2>/dev/null; then
  n=0
  while [ $n -lt 100 ] && [ -e "$1/postmaster.pid" ]; do n=$((n + 1)); sleep 0.1; done
  [ -e "$1/postmaster.pid" ] && kill -QUIT "$pid" 2>/dev/null && sleep 1
fi
[ -n "$2" ] && rm -rf -- "$2"
exit 0
`;

export interface WatchdogOptions {
  readonly account: Account | undefined;
  readonly dataDir: string;
  /** Goes with the server. */
  readonly temporaryDir?: string;
}

export interface Watchdog {
  /** The process to end when we die; undefined when there is none now. */
  readonly watch: (pid: number | undefined) => void;
  /** Ends the watchdog, and with it the folder it was to remove. */
  readonly close: () => Promise<void>;
}

export const startWatchdog = ({ account, dataDir, temporaryDir }: WatchdogOptions): Watchdog => {
  const child = Bun.spawn(["/bin/sh", "-c", script, "pgstream-watchdog", dataDir, temporaryDir ?? ""], {
    ...account,
    cwd: "/",
    env: childEnvironment,
    // A session of its own: Ctrl-C in our terminal is for us to act on, not for the watchdog.
    detached: true,
    stdin: "pipe",
    stdout: "ignore",
    stderr: "ignore",
  });
  child.unref();
  // One that was itself killed cannot be told anything; the server then runs on without it.
  const tell = async (line: string): Promise<void> => {
    try {
      await child.stdin.write(line);
      await child.stdin.flush();
    } catch {}
  };
  return {
    watch: (pid) => void tell(`${pid ?? ""}\n`),
    close: async () => {
      // Waited for now, so it must keep us alive: with nothing else left to do the process would end here.
      child.ref();
      try {
        await child.stdin.end();
      } catch {}
      await child.exited;
    },
  };
};
