/** The page's side of searcher.ts, which is started when a search is about to begin, and ended when there was none for a while. */
import { scriptURL, searcher } from "../trusted.ts";
import type { Asked, Told } from "./searcher.ts";

const idleTime = 600_000;

/** What has been found: the ids of notes, and for each a mask of the words that are in its text. */
export type Found = (ids: readonly string[], masks: Int32Array) => void;

export class Finder {
  private worker: Worker | null = null;
  private ids: string[] = [];
  private asked = 0;
  private found: Found = () => {};
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly database: string) {}

  /** Reads the texts, so that the first search finds them in memory. */
  warm(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.close(), idleTime);
    if (this.worker) return;
    this.worker = new Worker(scriptURL(searcher));
    this.worker.onmessage = ({ data }: MessageEvent<Told>) => {
      if ("from" in data) for (const [i, id] of data.ids.entries()) this.ids[data.from + i] = id;
      else if (data.search === this.asked) this.found([...data.numbers].map((number) => this.ids[number]!), data.masks);
    };
    this.ask({ open: this.database });
  }

  /** Looks for texts with some of the folded words. An earlier search is forgotten. */
  find(words: readonly string[], found: Found): void {
    this.warm();
    this.found = found;
    this.ask({ search: ++this.asked, words });
  }

  /** Says that texts have changed. */
  changed(ids: readonly string[]): void {
    if (this.worker) this.ask({ changed: ids });
  }

  close(): void {
    clearTimeout(this.timer);
    this.worker?.terminate();
    this.worker = null;
    this.ids = [];
  }

  private ask(message: Asked) {
    this.worker?.postMessage(message);
  }
}
