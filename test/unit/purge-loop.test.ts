import { describe, expect, test } from "bun:test";

import { openSchedule } from "../../src/adapters/croner/schedule.ts";
import { messageOf, PgstreamError } from "../../src/core/errors.ts";
import type { Clock } from "../../src/core/ports.ts";
import { type Schedule, untilDue } from "../../src/core/purge/purge-due.ts";
import { type PurgerProgress, runPurger } from "../../src/core/purge/purge-loop.ts";
import { previewPurge } from "../../src/core/purge/purge-preview.ts";
import { keepTicking } from "../../src/core/purge/purge-ticks.ts";
import { type FakeLog, makeFakeClock, makeFakeLog, makeMemoryLogger, options } from "./purge-fakes.ts";

const never = new AbortController().signal;
const minute = 60_000;
const gone = (): PgstreamError =>
  new PgstreamError("database_unavailable", "connection lost", { retryable: true });

/** Every minute of a wall clock that starts at 30 s and may be set. */
const makeWall = (now: () => number) => {
  let ahead = 0.5 * minute;
  const wall = (): number => now() + ahead;
  const schedule: Schedule = {
    next: () => {
      const at = (Math.floor(wall() / minute) + 1) * minute;
      return { at: new Date(at), inMs: at - wall() };
    },
  };
  return {
    schedule,
    set: (byMs: number): void => {
      ahead += byMs;
    },
  };
};

describe("a round is due", () => {
  test("when the wall clock says so", async () => {
    const { clock } = makeFakeClock();
    await untilDue(makeWall(clock.now).schedule, clock, never);
    expect(clock.now()).toBe(0.5 * minute);
  });

  test("when as much time has passed as was to pass, though the wall clock was set back an hour", async () => {
    const { clock } = makeFakeClock(() => {
      if (clock.now() >= 10_000 && !isSet) wall.set(-60 * minute);
      isSet ||= clock.now() >= 10_000;
    });
    let isSet = false;
    const wall = makeWall(clock.now);
    await untilDue(wall.schedule, clock, never);
    expect(clock.now()).toBeLessThan(0.5 * minute + 2_000);
  });

  test("soon after the wall clock was set forward past its time", async () => {
    const { clock } = makeFakeClock(() => {
      if (!isSet) wall.set(24 * 60 * minute);
      isSet = true;
    });
    let isSet = false;
    const wall = makeWall(clock.now);
    const daily: Schedule = {
      next: () => {
        const next = wall.schedule.next();
        const at = Math.ceil((next?.at.getTime() ?? 0) / 86_400_000) * 86_400_000;
        return { at: new Date(at), inMs: at - ((next?.at.getTime() ?? 0) - (next?.inMs ?? 0)) };
      },
    };
    await untilDue(daily, clock, never);
    expect(clock.now()).toBeLessThan(minute);
  });

  test("never again when the schedule has come to its end, until the signal aborts", async () => {
    const stopping = new AbortController();
    const { clock, sleeps } = makeFakeClock(() => clock.now() > 60 * minute && stopping.abort());
    await untilDue({ next: () => null }, clock, stopping.signal);
    expect(stopping.signal.aborted).toBe(true);
    expect(sleeps.length).toBeLessThan(200);
  });
});

describe("a schedule", () => {
  const refusal = (pattern: string): unknown => {
    try {
      openSchedule(pattern, "PURGE_SCHEDULE");
    } catch (error) {
      return error;
    }
    return null;
  };

  test("that is no pattern, or never comes true, is a wrong setting, told in one line that names it", () => {
    for (const pattern of ["every day", "", "61 * * * *", "* * *", "0 0 30 2 *", "2020-01-01T00:00:00"]) {
      const error = refusal(pattern);
      expect(error).toBeInstanceOf(PgstreamError);
      expect(error).toMatchObject({ code: "invalid_config" });
      expect(messageOf(error)).toMatch(/^PURGE_SCHEDULE: .+$/);
    }
  });

  test("is in UTC, and its next time lies ahead", () => {
    const next = openSchedule("30 4 * * *", "PURGE_SCHEDULE").next();
    expect(next?.at.toISOString()).toMatch(/T04:30:00.000Z$/);
    expect(next?.inMs).toBeGreaterThan(0);
  });
});

describe("ticks", () => {
  const tickFor = async (
    seconds: number,
    log: { failing?: number; leads?: boolean; leadsFor?: number; leadsFromMs?: number },
  ) => {
    const stopping = new AbortController();
    const { clock } = makeFakeClock(() => clock.now() >= seconds * 1_000 && stopping.abort());
    const { logger, messages } = makeMemoryLogger();
    const states: unknown[] = [];
    let ticks = 0;
    const tick = async (): Promise<boolean> => {
      ticks += 1;
      if (ticks <= (log.failing ?? 0)) throw gone();
      return await Promise.resolve(true);
    };
    await keepTicking(
      {
        tick,
        lead: async () =>
          await Promise.resolve(
            log.leads ?? (ticks < (log.leadsFor ?? Infinity) && clock.now() >= (log.leadsFromMs ?? 0)),
          ),
        onState: (it) => void states.push(it),
        clock,
        logger,
      },
      1_000,
      stopping.signal,
    );
    return { ticks, messages, states };
  };

  test("are taken once a second, by the purger at work", async () => {
    expect((await tickFor(10, {})).ticks).toBe(9);
    expect((await tickFor(10, { leads: false })).ticks).toBe(0);
  });

  test("are taken from the moment on when nobody else is at work any more", async () => {
    expect((await tickFor(10, { leadsFromMs: 7_000 })).ticks).toBe(3);
  });

  test("go on after an outage, which is told once", async () => {
    const { ticks, messages, states } = await tickFor(10, { failing: 2 });
    expect(ticks).toBe(9);
    expect(messages).toHaveLength(1);
    expect(states).toEqual(["database_unavailable", "database_unavailable", null]);
  });

  test("that another purger takes now are no trouble any more", async () => {
    const { states } = await tickFor(10, { failing: 9, leadsFor: 2 });
    expect(states).toEqual(["database_unavailable", "database_unavailable", null]);
  });
});

describe("a purger", () => {
  const run = async (log: FakeLog, untilMs: number, isScheduled = true) => {
    const stopping = new AbortController();
    const { clock: fake } = makeFakeClock(() => fake.now() >= untilMs && stopping.abort());
    // In short sleeps: who waits for a round must not move the clock past all ticks.
    const clock: Clock = {
      now: fake.now,
      sleep: async (ms, signal) => await fake.sleep(isScheduled ? ms : Math.min(ms, 1_000), signal),
    };
    const { logger, messages } = makeMemoryLogger();
    const { purging, calls } = makeFakeLog(log);
    const schedule = isScheduled ? makeWall(clock.now).schedule : { next: () => null };
    const progress: PurgerProgress = {
      obstacle: "waits",
      tickObstacle: null,
      isLeading: false,
      last: null,
      purgedEvents: 0n,
    };
    const ports = { purging, schedule, clock, random: () => 0.5, logger };
    const reconnect = { delayMsMin: 100, delayMsMax: 1_000 };
    const ending = await runPurger(
      ports,
      { ...options, tickIntervalMs: 1_000, reconnect },
      progress,
      stopping.signal,
    ).catch((error: unknown) => error);
    return { ending, calls, progress, messages };
  };
  const count = (calls: readonly string[], name: string): number => calls.filter((it) => it === name).length;
  const rounds = (calls: readonly string[]): number => count(calls, "unfinished");

  test("purges at once and then on schedule", async () => {
    const { calls, progress, ending } = await run({}, 3 * minute);
    expect(ending).toBeUndefined();
    expect(calls[0]).toBe("lead");
    // The wall clock begins at half a minute.
    expect(rounds(calls)).toBe(4);
    expect(progress).toMatchObject({ obstacle: null, isLeading: true, last: { round: { failures: [] } } });
    expect(calls).toContain("tick");
  });

  test("rolls once a minute, whatever the schedule", async () => {
    const { calls } = await run({}, 5.5 * minute, false);
    expect(rounds(calls)).toBe(1);
    expect(count(calls, "roll")).toBeGreaterThanOrEqual(4);
    expect(count(calls, "roll")).toBeLessThanOrEqual(6);
  });

  test("counts what it has removed, be it whole segments or single events", async () => {
    expect((await run({ segments: [4], newerEvents: [4] }, 3 * minute)).progress.purgedEvents).toBe(0n);
    expect((await run({ segments: [4] }, 3 * minute)).progress.purgedEvents).toBe(4n * 3n);
    expect((await run({ topics: [1] }, 3 * minute)).progress.purgedEvents).toBe(25n);
  });

  test("that stands by does nothing but ask, every second, whether it is to take over", async () => {
    const { calls, progress } = await run({ isLeader: false }, 3 * minute, false);
    expect(new Set(calls)).toEqual(new Set(["lead"]));
    expect(calls.length).toBeGreaterThan(30);
    expect(progress).toMatchObject({ obstacle: null, isLeading: false, last: null, purgedEvents: 0n });
  });

  test("waits out a lost database without waiting for the schedule", async () => {
    const { calls, progress } = await run(
      { failures: { lead: Array.from({ length: 3 }, gone) } },
      0.4 * minute,
    );
    expect(rounds(calls)).toBe(1);
    expect(progress.obstacle).toBeNull();
  });

  test("says why it waits, and logs that now and then while it does", async () => {
    const { calls, progress, messages } = await run(
      { failures: { lead: Array.from({ length: 1_000 }, gone) } },
      2.2 * minute,
    );
    expect(count(calls, "lead")).toBeGreaterThan(20);
    expect(progress.obstacle).toBe("waits: database_unavailable");
    expect(messages.filter((it) => it === "the purger waits and tries again")).toHaveLength(5);
  });

  test("says why it takes no ticks, for as long as it takes none", async () => {
    const failing = await run({ failures: { tick: Array.from({ length: 1_000 }, gone) } }, 3 * minute);
    expect(failing.progress.tickObstacle).toBe("cannot take ticks: database_unavailable");
    const mended = await run({ failures: { tick: [gone()] } }, 3 * minute);
    expect(mended.progress.tickObstacle).toBeNull();
  });

  for (const call of ["tick", "lead"]) {
    test(`fails with what waiting does not mend, and leaves nothing running: ${call}`, async () => {
      const { ending, calls } = await run(
        { failures: { [call]: [new PgstreamError("schema_newer", "newer")] } },
        60 * minute,
      );
      expect(ending).toMatchObject({ code: "schema_newer" });
      // Who leads is asked by both, the rounds and the ticks.
      expect(count(calls, call)).toBeLessThanOrEqual(2);
      expect(calls.length).toBeLessThan(10);
    });
  }
});

describe("a preview", () => {
  test("says in a line each what would go, and calls nothing that changes anything", async () => {
    const { purging, calls } = makeFakeLog({
      segments: [4],
      topics: [1],
      unfinished: [{ id: 2n, segment: 2, topicId: null, events: 7n }],
    });
    expect(await previewPurge(purging, 1_000)).toEqual([
      "segment 2: announced earlier as purge 2, not finished",
      "segment 4: 3 events, from 1970-01-01T00:00:00.000Z to 1970-01-02T00:00:00.000Z, closed 3 days ago",
      "topic topic-1: 25 events past its own retention",
      "dry run: nothing was changed",
    ]);
    expect(calls).toEqual(["unfinished", "expired segments", "expired topics"]);
  });

  test("says when there is nothing", async () => {
    expect(await previewPurge(makeFakeLog().purging, 1_000)).toEqual([
      "nothing to purge",
      "dry run: nothing was changed",
    ]);
  });
});
