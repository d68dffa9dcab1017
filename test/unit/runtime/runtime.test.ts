import { describe, expect, test } from "bun:test";

import { makeClock } from "../../../src/adapters/runtime/clock.ts";
import { onStopSignals, type StopSignal } from "../../../src/adapters/runtime/stop-signals.ts";

describe("the clock", () => {
  const clock = makeClock();

  test("never goes back", () => {
    const before = clock.now();
    expect(clock.now()).toBeGreaterThanOrEqual(before);
  });

  test("wakes after the time, and not before", async () => {
    const before = clock.now();
    await clock.sleep(5);
    expect(clock.now() - before).toBeGreaterThanOrEqual(4);
  });

  test("wakes when the signal aborts, at once when it has, and lets go of the signal", async () => {
    const stopping = new AbortController();
    const asleep = clock.sleep(60_000, stopping.signal);
    stopping.abort();
    await asleep;
    await clock.sleep(60_000, stopping.signal);
    expect(stopping.signal.aborted).toBeTrue();
  });

  test("does not take a wait longer than a timer can hold for none", async () => {
    const stopping = new AbortController();
    const asleep = clock.sleep(2 ** 31, stopping.signal);
    await clock.sleep(15);
    expect(Bun.peek.status(asleep)).toBe("pending");
    stopping.abort();
    await asleep;
  });
});

describe("signals", () => {
  const listen = () => {
    const listeners = new Map<StopSignal, () => void>();
    const heard: (string | number)[] = [];
    let now = 1_000;
    onStopSignals(
      { on: (event, listener) => listeners.set(event, listener) },
      { stop: (signal) => heard.push(signal), exit: (code) => heard.push(code) },
      () => now,
    );
    const send = (signal: StopSignal, laterMs = 0): void => {
      now += laterMs;
      listeners.get(signal)?.();
    };
    return { heard, send };
  };

  test("the first stops, the second ends, whichever they are", () => {
    const { heard, send } = listen();
    send("SIGTERM");
    expect(heard).toEqual(["SIGTERM"]);
    send("SIGINT");
    expect(heard).toEqual(["SIGTERM", 130]);
  });

  test("one Ctrl-C that comes twice, from the terminal and from bun run, is one; a second Ctrl-C ends", () => {
    const { heard, send } = listen();
    send("SIGINT");
    send("SIGINT", 20);
    expect(heard).toEqual(["SIGINT"]);
    send("SIGINT", 1_000);
    expect(heard).toEqual(["SIGINT", 130]);
  });

  test("a SIGTERM is never an echo", () => {
    const { heard, send } = listen();
    send("SIGTERM");
    send("SIGTERM");
    expect(heard).toEqual(["SIGTERM", 143]);
  });

  test("a second SIGTERM is 143", () => {
    const { heard, send } = listen();
    send("SIGINT");
    send("SIGTERM");
    expect(heard).toEqual(["SIGINT", 143]);
  });
});
