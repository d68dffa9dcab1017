import { describe, expect, test } from "bun:test";

import { PgstreamError } from "../../../src/core/errors.ts";
import { type Held, runWithLease } from "../../../src/core/subscribe/standby.ts";
import type { Lease } from "../../../src/core/subscribe/store.ts";
import { type FakeClock, isPending, makeFakeClock, makeFakeLogger, outcomeOf, settle } from "./fakes.ts";

const ttlMs = 9_000;
const unavailable = (): PgstreamError =>
  new PgstreamError("store_unavailable", "the store is down", { retryable: true });

/** A lease table with the contract of ConsumerStore. */
const makeLeases = (clock: FakeClock) => {
  let token = 0n;
  let until = -1;
  let isHeld = false;
  let isDown = false;
  let answer: Promise<void> = Promise.resolve();
  const calls = { prepared: 0, acquired: 0, released: 0 };
  const reach = async (): Promise<void> => {
    await Promise.resolve();
    if (isDown) throw unavailable();
  };
  return {
    calls,
    down: (value: boolean) => {
      isDown = value;
    },
    holder: () => (isHeld && clock.now() < until ? token : null),
    prepare: async () => {
      await reach();
      calls.prepared += 1;
    },
    /** What it answers is a while on its way. */
    answersAfter: (wait: Promise<void>) => {
      answer = wait;
    },
    acquire: async (subscription: string, held: Lease | null, ms: number): Promise<Lease | null> => {
      calls.acquired += 1;
      await reach();
      if (held === null) {
        if (isHeld && clock.now() < until) return null;
        token += 1n;
        isHeld = true;
      } else if (!isHeld || held.token !== token) return null;
      until = clock.now() + ms;
      const lease = { subscription, token };
      await answer;
      return lease;
    },
    release: async (lease: Lease) => {
      await reach();
      calls.released += 1;
      if (lease.token === token) isHeld = false;
    },
  };
};

/** A process that wants the lease. Its work goes on until it is told to stop. */
const startProcess = (
  leases: ReturnType<typeof makeLeases>,
  clock: FakeClock,
  work: Held = async (_, signal) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => resolve());
    await promise;
  },
) => {
  const stop = new AbortController();
  const states: string[] = [];
  const held: bigint[] = [];
  let working = 0;
  const run: Held = async (lease, signal) => {
    held.push(lease.token);
    working += 1;
    try {
      await work(lease, signal);
    } finally {
      working -= 1;
    }
  };
  const done = runWithLease(
    run,
    { store: leases, clock, logger: makeFakeLogger(), onState: (state) => states.push(state) },
    { subscription: "s", ttlMs },
    stop.signal,
  );
  const outcome = outcomeOf(done);
  return { stop, states, held, outcome, working: () => working };
};

const setup = () => {
  const clock = makeFakeClock();
  return { clock, leases: makeLeases(clock) };
};

test("the first works, the second stands by for as long as the first renews", async () => {
  const { clock, leases } = setup();
  const first = startProcess(leases, clock);
  await settle();
  const second = startProcess(leases, clock);
  await clock.pass(10 * ttlMs);
  expect(first.held).toEqual([1n]);
  expect(first.working()).toBe(1);
  expect(second.held).toEqual([]);
  expect(new Set(second.states)).toEqual(new Set(["standby"]));
  // Five times in the time to live.
  expect(second.states).toHaveLength(51);
  for (const it of [first, second]) it.stop.abort();
  await Promise.all([first.outcome, second.outcome]);
});

test("who stops gives the lease back: the second need not wait for it to run out", async () => {
  const { clock, leases } = setup();
  const first = startProcess(leases, clock);
  await settle();
  const second = startProcess(leases, clock);
  await settle();
  first.stop.abort();
  await first.outcome;
  expect(leases.calls.released).toBe(1);
  await clock.pass(ttlMs / 5);
  expect(second.held).toEqual([2n]);
  expect(second.states.at(-1)).toBe("holder");
  second.stop.abort();
  await second.outcome;
});

test("who is told to stop keeps the lease until the work in hand has ended: nobody begins beside it", async () => {
  const { clock, leases } = setup();
  const inHand = Promise.withResolvers<void>();
  const first = startProcess(leases, clock, async () => await inHand.promise);
  await settle();
  const second = startProcess(leases, clock);
  first.stop.abort();
  await clock.pass(3 * ttlMs);
  expect(second.held).toEqual([]);
  inHand.resolve();
  await first.outcome;
  await clock.pass(ttlMs / 5);
  expect(second.held).toEqual([2n]);
  second.stop.abort();
  await second.outcome;
});

test("when renewal stops, the second takes over with a greater token within the time to live", async () => {
  const { clock, leases } = setup();
  // Its work ignores every signal, and so does its renewal: a process that was paused.
  const paused = makeFakeClock();
  const first = startProcess(leases, paused);
  await settle();
  const second = startProcess(leases, clock);
  await clock.pass(ttlMs + ttlMs / 5);
  expect(second.held).toEqual([2n]);
  // It wakes up late, learns at its next renewal that the lease is gone, and ends its work.
  await paused.pass(ttlMs / 3);
  expect(first.working()).toBe(0);
  expect(first.states.at(-1)).toBe("standby");
  expect(leases.holder()).toBe(2n);
  for (const it of [first, second]) it.stop.abort();
  await Promise.all([first.outcome, second.outcome]);
});

test("who was paused for longer than the lease lasts keeps it when nobody else has taken it", async () => {
  const { clock, leases } = setup();
  const paused = makeFakeClock();
  const process = startProcess(leases, {
    ...paused,
    // It wakes up late.
    sleep: async (ms, signal) => await paused.sleep(ms === ttlMs / 3 ? 2 * ttlMs : ms, signal),
  });
  await settle();
  await clock.pass(2 * ttlMs);
  await paused.pass(2 * ttlMs);
  expect([process.working(), process.held]).toEqual([1, [1n]]);
  expect(leases.holder()).toBe(1n);
  process.stop.abort();
  await process.outcome;
});

test("work that finds the lease lost stands by again, and takes it when it is free", async () => {
  const { clock, leases } = setup();
  let isFirst = true;
  const process = startProcess(leases, clock, async (_, signal) => {
    if (isFirst) {
      isFirst = false;
      throw new PgstreamError("lease_lost", "planted");
    }
    await clock.sleep(1e9, signal);
  });
  await clock.pass(ttlMs);
  expect(process.held).toEqual([1n, 2n]);
  expect(await isPending(process.outcome)).toBe(true);
  process.stop.abort();
  expect(await process.outcome).toBeUndefined();
});

test("any other failure of the work ends it, with the lease given back", async () => {
  const { clock, leases } = setup();
  const process = startProcess(leases, clock, async () => {
    await Promise.reject(new PgstreamError("handler_failed", "planted"));
  });
  expect(await process.outcome).toBe("handler_failed");
  expect(leases.calls.released).toBe(1);
  expect(clock.sleepers()).toBe(0);
});

describe("a store that is out of reach", () => {
  test("for hardly less than the time to live changes nothing", async () => {
    const { clock, leases } = setup();
    const process = startProcess(leases, clock);
    await settle();
    leases.down(true);
    await clock.pass((9 * ttlMs) / 10);
    leases.down(false);
    await clock.pass(ttlMs);
    expect(process.held).toEqual([1n]);
    expect(process.working()).toBe(1);
    process.stop.abort();
    await process.outcome;
  });

  test("once is asked in haste until it answers, and at leisure from then on", async () => {
    const { clock, leases } = setup();
    const process = startProcess(leases, clock);
    await settle();
    leases.down(true);
    await clock.pass(ttlMs / 3);
    leases.down(false);
    await clock.pass(ttlMs / 10);
    const { acquired } = leases.calls;
    expect(acquired).toBe(3);
    await clock.pass(10 * ttlMs);
    expect(leases.calls.acquired - acquired).toBe(30);
    expect(process.held).toEqual([1n]);
    process.stop.abort();
    await process.outcome;
  });

  test("for longer ends the work before anybody else can hold the lease, and takes it again later", async () => {
    const { clock, leases } = setup();
    const process = startProcess(leases, clock);
    await settle();
    leases.down(true);
    await clock.pass(ttlMs);
    expect(leases.holder()).toBeNull();
    expect(process.working()).toBe(0);
    expect(process.states.at(-1)).toBe("unreachable");
    leases.down(false);
    await clock.pass(ttlMs);
    expect(process.held).toEqual([1n, 2n]);
    process.stop.abort();
    await process.outcome;
  });

  test("or answers late, ends the work when the lease has run out that was asked for before", async () => {
    const { clock, leases } = setup();
    leases.answersAfter(clock.sleep(ttlMs / 4));
    const process = startProcess(leases, clock);
    await clock.pass(ttlMs / 4);
    expect(process.working()).toBe(1);
    leases.down(true);
    await clock.pass((3 * ttlMs) / 4 - 1);
    expect(process.working()).toBe(1);
    await clock.pass(1);
    expect([process.working(), leases.holder()]).toEqual([0, null]);
    process.stop.abort();
    await process.outcome;
  });

  test("or answers late that the lease is prolonged, ends the work no later for it", async () => {
    const { clock, leases } = setup();
    const process = startProcess(leases, clock);
    await settle();
    // Asked for at a third of the time to live, it arrives at two.
    leases.answersAfter(clock.sleep((2 * ttlMs) / 3));
    await clock.pass((2 * ttlMs) / 3);
    leases.down(true);
    await clock.pass((2 * ttlMs) / 3 - 1);
    expect(process.working()).toBe(1);
    await clock.pass(1);
    expect([process.working(), leases.holder()]).toEqual([0, null]);
    process.stop.abort();
    await process.outcome;
  });

  test("and does not even refuse, ends the work no later", async () => {
    const { clock, leases } = setup();
    const process = startProcess(leases, clock);
    await settle();
    const silence = Promise.withResolvers<void>();
    const acquire = leases.acquire.bind(leases);
    Object.assign(leases, {
      acquire: async (...asked: Parameters<typeof acquire>) => {
        await silence.promise;
        return await acquire(...asked);
      },
    });
    await clock.pass(ttlMs - 1);
    expect(process.working()).toBe(1);
    await clock.pass(1);
    expect([process.working(), leases.holder()]).toEqual([0, null]);
    silence.resolve();
    await clock.pass(ttlMs);
    expect(process.held).toEqual([1n, 2n]);
    process.stop.abort();
    await process.outcome;
    expect(clock.sleepers()).toBe(0);
  });

  test("at the start is waited for; it is prepared once, when it is there", async () => {
    const { clock, leases } = setup();
    leases.down(true);
    const process = startProcess(leases, clock);
    await clock.pass(10 * ttlMs);
    expect(new Set(process.states)).toEqual(new Set(["unreachable"]));
    leases.down(false);
    await clock.pass(ttlMs);
    expect(process.held).toEqual([1n]);
    expect(leases.calls.prepared).toBe(1);
    process.stop.abort();
    await process.outcome;
  });

  test("at the end delays nothing: the lease runs out by itself", async () => {
    const { clock, leases } = setup();
    const process = startProcess(leases, clock);
    await settle();
    leases.down(true);
    process.stop.abort();
    expect(await process.outcome).toBeUndefined();
  });
});

test("a store that refuses for good ends it", async () => {
  const { clock, leases } = setup();
  const broken = {
    ...leases,
    acquire: async () => await Promise.reject(new PgstreamError("store_error", "planted")),
  };
  expect(await startProcess(broken, clock).outcome).toBe("store_error");
});

test("told to stop while standing by, it ends at once", async () => {
  const { clock, leases } = setup();
  const first = startProcess(leases, clock);
  await settle();
  const second = startProcess(leases, clock);
  await settle();
  second.stop.abort();
  expect(await second.outcome).toBeUndefined();
  first.stop.abort();
  await first.outcome;
  expect(clock.sleepers()).toBe(0);
});
