//! A queue: what is handed to it runs one after the other.

/**
 * The calls must end by themselves, by a deadline of their own. A call whose signal aborted while it waited is not made:
 * nobody wants it any more, and it could undo what came after it.
 */
export const makeOneAtATime = () => {
  let last: Promise<unknown> = Promise.resolve();
  return async <T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> => {
    const turn = async (): Promise<T> => {
      signal.throwIfAborted();
      return await call();
    };
    const mine = last.then(turn, turn);
    last = mine;
    return await mine;
  };
};
