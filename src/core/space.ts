//! Room for what may wait at once; whoever finds none waits in line.

export interface Space {
  /** Resolves when there is room, in the order of the calls. More than there can ever be waits until all is free. */
  readonly take: (events: number, bytes: number) => Promise<void>;
  readonly give: (events: number, bytes: number) => void;
  /** Events that hold room, or wait for it. */
  readonly taken: () => number;
}

export const makeSpace = (eventsMax: number, bytesMax: number): Space => {
  let events = 0;
  let bytes = 0;
  let waitingEvents = 0;
  const line: { readonly events: number; readonly bytes: number; readonly enter: () => void }[] = [];
  const fits = (moreEvents: number, moreBytes: number): boolean =>
    events === 0 || (events + moreEvents <= eventsMax && bytes + moreBytes <= bytesMax);
  const admit = (): void => {
    for (let first = line[0]; first !== undefined && fits(first.events, first.bytes); first = line[0]) {
      line.shift();
      events += first.events;
      bytes += first.bytes;
      waitingEvents -= first.events;
      first.enter();
    }
  };
  return {
    take: (moreEvents, moreBytes) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      line.push({ events: moreEvents, bytes: moreBytes, enter: resolve });
      waitingEvents += moreEvents;
      admit();
      return promise;
    },
    give: (lessEvents, lessBytes) => {
      events -= lessEvents;
      bytes -= lessBytes;
      admit();
    },
    taken: () => events + waitingEvents,
  };
};
