//! Fetches pages ahead of whoever handles them, so that the log works while a page is handled.
//!
//! A page is asked for as soon as the one before has arrived, two ahead at most: with one alone the log would rest from when it
//! has sent the page until somebody takes it.

import type { FetchedPage, Pages } from "./pages.ts";

/** Pages that wait to be taken or are on their way. */
const pagesAheadMax = 2;

export interface ReadAhead {
  /**
   * The next page, or null when there was nothing more at the time of a look that began after the call.
   * @throws what {@link Pages.fetch} throws, at the place of the page that failed
   */
  readonly next: () => Promise<FetchedPage | null>;
  /** Resolves when nothing is on its way, and what was fetched has been forgotten. */
  readonly forget: () => Promise<void>;
}

class Fetcher implements ReadAhead {
  readonly #pages: Pages;
  readonly #ready: FetchedPage[] = [];
  /** Resolves when the page that is on its way is ready, or is known not to come. */
  #onItsWay: Promise<void> | null = null;
  /** Of the page behind those that are ready. */
  #failure: { readonly error: unknown } | null = null;
  /** Whether it is known that there may be more behind what is ready. */
  #mayHaveMore = false;

  constructor(pages: Pages) {
    this.#pages = pages;
  }

  async next(): Promise<FetchedPage | null> {
    while (this.#ready.length === 0 && this.#onItsWay !== null) await this.#onItsWay;
    const page = this.#ready.shift() ?? (await this.#look());
    if (page !== null) this.#goOn();
    return page;
  }

  async forget(): Promise<void> {
    this.#mayHaveMore = false;
    await this.#onItsWay;
    this.#ready.length = 0;
    this.#failure = null;
  }

  /** Nothing is known to be there. */
  async #look(): Promise<FetchedPage | null> {
    if (this.#failure !== null) {
      const { error } = this.#failure;
      this.#failure = null;
      throw error;
    }
    const page = await this.#pages.fetch(true);
    this.#mayHaveMore = page !== null;
    return page;
  }

  #goOn(): void {
    if (!this.#mayHaveMore || this.#onItsWay !== null || this.#ready.length >= pagesAheadMax) return;
    this.#onItsWay = this.#fetch();
  }

  /** Never rejects: a failure waits for whoever comes to its place. */
  async #fetch(): Promise<void> {
    try {
      const page = await this.#pages.fetch(false);
      if (page === null) this.#mayHaveMore = false;
      else this.#ready.push(page);
    } catch (error) {
      this.#failure = { error };
      this.#mayHaveMore = false;
    }
    this.#onItsWay = null;
    this.#goOn();
  }
}

export const makeReadAhead = (pages: Pages): ReadAhead => new Fetcher(pages);
