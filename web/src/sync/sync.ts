/** Opens the copy of the notes that the views work on: see types.ts for what it promises. */
import * as api from "./api.ts";
import { Accounts } from "./db.ts";
import { Value } from "./observable.ts";
import { Session } from "./session.ts";
import type { Account, NoteMeta, NoteView, Notice, Observable, Sync, SyncState } from "./types.ts";

const nobody: SyncState = {
  account: null, session: "unknown", connection: "polling", storage: "kept", unsent: 0, catchingUp: null,
};

type AccountMessage = { type: "signedIn"; account: Account } | { type: "signedOut"; id: string; forget: boolean };

/** Opens the notes of whoever was signed in last, and asks the server whether that still holds. */
export function openSync(): Sync {
  return new Notes();
}

class Notes implements Sync {
  readonly state = new Value<SyncState>(nobody);
  readonly list = new Value<readonly NoteMeta[]>([]);
  private session: Session | null = null;
  private stopList = () => {};
  private opened: ((session: Session) => void)[] = [];
  private notices = new Set<(notice: Notice) => void>();
  private channel = new BroadcastChannel("notesd accounts");

  private readonly accounts = Accounts.open();

  constructor() {
    this.channel.onmessage = (e: MessageEvent<AccountMessage>) => void this.hear(e.data);
    void this.start();
  }

  private async start(): Promise<void> {
    const last = await (await this.accounts).last();
    if (this.session || this.state.value.account) return; // somebody has just signed in
    if (last) return this.use(last);
    await this.askWho();
  }

  /** Asks the server who is signed in, when this browser does not know. */
  private async askWho(): Promise<void> {
    try {
      const { status, body } = await api.me();
      const user = body?.data?.user;
      if (this.session) return;
      if (user) return await this.signedIn(user);
      this.set({ session: status === 401 ? "none" : "unknown" });
    } catch (e) {
      if (!(e instanceof api.Unreachable)) throw e;
      this.set({ connection: "offline" });
      addEventListener("online", () => void this.askWho(), { once: true });
    }
  }

  private set(state: Partial<SyncState>) {
    const next = { ...this.state.value, ...state };
    const isNew = (Object.keys(next) as (keyof SyncState)[]).some((key) => next[key] !== this.state.value[key]);
    if (!isNew) return;
    const { unsent } = this.state.value;
    const { account } = next;
    this.state.set(next);
    if (account && (next.unsent > 0) !== (unsent > 0)) void this.accounts.then((all) => all.setWaiting(account, next.unsent));
  }

  private async use(account: Account): Promise<void> {
    this.set({ ...nobody, account });
    const session = await Session.open(account, {
      notice: (notice) => this.tell(notice),
      state: (state) => this.set(state),
      ended: () => void this.session?.eraseCopies(),
    });
    this.session = session;
    for (const open of this.opened.splice(0)) open(session);
    this.stopList = session.list.value.subscribe((rows) => this.list.set(rows));
  }

  private async leave(): Promise<void> {
    const session = this.session;
    this.session = null;
    this.stopList();
    this.list.set([]);
    await session?.close();
  }

  private tell(notice: Notice) {
    for (const listener of this.notices) listener(notice);
  }

  private async hear(message: AccountMessage): Promise<void> {
    const id = this.session?.account.id;
    if (message.type === "signedIn" && message.account.id !== id) {
      await this.leave();
      await this.use(message.account);
    } else if (message.type === "signedIn") {
      await this.session!.resume();
    } else if (message.id === id) {
      await this.leave();
      this.set({ ...nobody, session: "none" });
    }
  }

  private get active(): Session {
    if (!this.session) throw new Error("nobody has signed in");
    return this.session;
  }

  onNotice(listener: (notice: Notice) => void): () => void {
    this.notices.add(listener);
    return () => this.notices.delete(listener);
  }

  open(id: string): Observable<NoteView | null | "missing" | "away"> {
    if (this.session) return this.session.open(id);
    // Nothing is known before the first session is there.
    const value = new Value<NoteView | null | "missing" | "away">(null);
    let stop = () => {};
    this.opened = [...this.opened, (session) => (stop = session.open(id).subscribe((view) => value.set(view)))];
    value.onIdle = () => stop();
    return value;
  }

  meta: Sync["meta"] = (id) => this.session?.list.meta(id);
  create: Sync["create"] = (fields) => this.active.create(fields);
  draft: Sync["draft"] = (seen, fields) => this.active.draft(seen, fields);
  change: Sync["change"] = (ids, fields) => this.active.change(ids, fields);
  remove: Sync["remove"] = (ids) => this.active.remove(ids);
  mend: Sync["mend"] = (id, result) => this.active.mend(id, result);
  resolve: Sync["resolve"] = (seen, content) => this.active.resolve(seen, content);
  retry: Sync["retry"] = () => this.session?.retry();
  search: Sync["search"] = (query, found, signal) => {
    if (this.session) this.session.search(query, found, signal);
    else found({ ids: [], isComplete: true });
  };
  fetchAll: Sync["fetchAll"] = (progress = () => {}, signal) => this.active.fetchAll(progress, signal);

  async trash(ids: readonly string[]): Promise<() => Promise<void>> {
    await this.active.change(ids, { isTrashed: true });
    return () => this.active.change(ids, { isTrashed: false });
  }

  async signedIn(account: Account): Promise<void> {
    await (await this.accounts).setLast(account);
    this.channel.postMessage({ type: "signedIn", account } satisfies AccountMessage);
    if (this.session?.account.id === account.id) {
      this.set({ account });
      await this.session.resume();
    } else {
      await this.leave();
      await this.use(account);
    }
    for (const { account: other, unsent } of await (await this.accounts).waiting(account.id)) {
      this.tell({ kind: "waiting", email: other.email, unsent });
    }
  }

  async signOut({ forget = false } = {}): Promise<void> {
    const { session } = this;
    if (!session) return;
    // The server's session ends first: without that the next start would show everything again.
    const reply = await api.logOut();
    if (reply.status !== 200 && reply.status !== 401) throw new api.Failed(reply.status, "");
    await (await this.accounts).setLast(null);
    this.channel.postMessage({ type: "signedOut", id: session.account.id, forget } satisfies AccountMessage);
    this.session = null;
    this.stopList();
    this.list.set([]);
    await session.eraseCopies();
    if (forget) {
      await (await this.accounts).setWaiting(session.account, 0);
      await session.store.eraseAll();
    }
    await session.close();
    this.state.set({ ...nobody, session: "none" });
  }

  async close(): Promise<void> {
    await this.leave();
    this.channel.close();
    (await this.accounts).close();
  }
}
