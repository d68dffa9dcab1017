//! Room for what may wait at once; whoever finds none waits in line.

export interface Space {
  /**
   * Calls `enter` when there is room: at once, or later in the order of the calls. More than there can ever be waits
   * until all is free.
   */
  readonly take: (events: number, bytes: number, enter: () => void) => void;
  readonly give: (events: number, bytes: number) => void;
  /** Events that hold room, or wait for it. */
  readonly taken: () => number;
}

export const makeSpace = (eventsMax: number, bytesMax: number): Space => {
  let events = 0;
  let bytes = 0;
  let waitingEvents = 0;
  let isAdmitting = false;
  const line: { readonly events: number; readonly bytes: number; readonly enter: () => void }[] = [];
  const fits = (moreEvents: number, moreBytes: number): boolean =>
    events === 0 || (events + moreEvents <= eventsMax && bytes + moreBytes <= bytesMax);
  const admit = (): void => {
    // Who enters may give room back at once: the loop that let it in goes on, instead of one within the other.
    if (isAdmitting) return;
    isAdmitting = true;
    for (let first = line[0]; first !== undefined && fits(first.events, first.bytes); first = line[0]) {
      line.shift();
      events += first.events;
      bytes += first.bytes;
      waitingEvents -= first.events;
      first.enter();
    }
    isAdmitting = false;
  };
  return {
    take: (moreEvents, moreBytes, enter) => {
      if (line.length === 0 && !isAdmitting && fits(moreEvents, moreBytes)) {
        events += moreEvents;
        bytes += moreBytes;
        enter();
        return;
      }
      line.push({ events: moreEvents, bytes: moreBytes, enter });
      waitingEvents += moreEvents;
      admit();
    },
    give: (lessEvents, lessBytes) => {
      events -= lessEvents;
      bytes -= lessBytes;
      if (line.length > 0) admit();
    },
    taken: () => events + waitingEvents,
  };
};
