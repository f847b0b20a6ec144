/**
 * One tab for all: the leader, which sends and listens for changes. Web Locks say which; a page in the
 * back/forward cache keeps its lock there, so it lets go in pagehide and asks again in pageshow. Without
 * Web Locks (plain http at another address than localhost) each visible tab is a leader, which costs requests
 * and nothing else.
 */
export class Leadership {
  isLeader = false;
  private release: (() => void) | null = null;
  private asking: AbortController | null = null;

  constructor(private readonly name: string, private readonly onChange: (isLeader: boolean) => void) {
    addEventListener("pagehide", this.leave);
    addEventListener("pageshow", this.ask);
    document.addEventListener("visibilitychange", this.see);
    this.ask();
  }

  close() {
    removeEventListener("pagehide", this.leave);
    removeEventListener("pageshow", this.ask);
    document.removeEventListener("visibilitychange", this.see);
    this.leave();
  }

  private readonly ask = () => {
    if (this.asking) return;
    if (!navigator.locks) return this.see();
    const asking = (this.asking = new AbortController());
    const hold = () =>
      new Promise<void>((release) => {
        if (asking.signal.aborted) return release();
        this.release = release;
        this.become(true);
      });
    navigator.locks.request(this.name, { signal: asking.signal }, hold).catch(() => {});
  };

  private readonly see = () => {
    if (!navigator.locks) this.become(document.visibilityState === "visible");
  };

  private readonly leave = () => {
    this.asking?.abort();
    this.asking = null;
    this.release?.();
    this.release = null;
    this.become(false);
  };

  private become(isLeader: boolean) {
    if (isLeader === this.isLeader) return;
    this.isLeader = isLeader;
    this.onChange(isLeader);
  }
}

export interface ChangeEvent {
  changeSeq: number;
  id?: string;
  revision?: number;
  deleted?: boolean;
}

const [firstWait, longestWait] = [1000, 60_000];

/**
 * Listens to /api/events. A browser never tries again after a refusal, so this does, later and later, and when the
 * network is back.
 */
export class Events {
  isOpen = false;
  private source: EventSource | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private isClosed = false;

  constructor(
    private readonly since: () => number,
    private readonly onEvent: (event: ChangeEvent) => void,
    private readonly onOpen: (isOpen: boolean) => void,
  ) {
    addEventListener("online", this.connect);
    this.connect();
  }

  close() {
    this.isClosed = true;
    removeEventListener("online", this.connect);
    this.end();
  }

  private end() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
    this.setOpen(false);
  }

  private setOpen(isOpen: boolean) {
    if (this.isOpen === isOpen) return;
    this.isOpen = isOpen;
    this.onOpen(isOpen);
  }

  private readonly connect = () => {
    if (this.isClosed) return;
    this.end();
    const source = (this.source = new EventSource(`/api/events?since=${this.since()}`));
    const heard = (e: MessageEvent) => {
      this.failures = 0;
      this.setOpen(true);
      this.onEvent(JSON.parse(e.data));
    };
    source.addEventListener("hello", heard);
    source.addEventListener("change", heard);
    source.addEventListener("error", () => {
      if (source !== this.source) return;
      // A stream that is tried again by the browser would resume too, but only after seconds and without a new `since`.
      this.end();
      const wait = Math.min(longestWait, firstWait * 2 ** this.failures++) * (0.5 + Math.random() / 2);
      this.timer = setTimeout(this.connect, wait);
    });
  };
}
