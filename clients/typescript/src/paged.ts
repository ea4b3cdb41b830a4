/** A list: a promise of one page, and an iterable of the items of all. */

interface PageOf {
  readonly nextPageToken?: string;
}

/**
 * Awaited, it is one page. Iterated over with `for await`, it is the items of this page and of all that follow, read
 * when they are needed. Nothing is asked for before.
 */
export class Paged<Page, Item> implements PromiseLike<Page>, AsyncIterable<Item> {
  readonly #read: (pageToken: string | undefined) => Promise<Page>;
  readonly #items: string;
  #first: Promise<Page> | undefined;

  /** `items` is the field of a page with its items. */
  constructor(read: (pageToken: string | undefined) => Promise<Page>, items: string) {
    this.#read = read;
    this.#items = items;
  }

  then<A = Page, B = never>(
    done?: ((page: Page) => A | PromiseLike<A>) | null,
    failed?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#firstPage().then(done, failed);
  }

  catch<B>(failed: (reason: unknown) => B | PromiseLike<B>): Promise<Page | B> {
    return this.#firstPage().catch(failed);
  }

  /** Every page, one after the other. */
  async *pages(): AsyncGenerator<Page, void, undefined> {
    let page = await this.#firstPage();
    for (;;) {
      yield page;
      const next = (page as PageOf).nextPageToken;
      if (!next) {
        return;
      }
      page = await this.#read(next);
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item, void, undefined> {
    for await (const page of this.pages()) {
      yield* (page as Record<string, Item[] | undefined>)[this.#items] ?? [];
    }
  }

  #firstPage(): Promise<Page> {
    this.#first ??= this.#read(undefined);
    return this.#first;
  }
}
