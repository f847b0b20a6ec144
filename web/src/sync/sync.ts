/** Opens the copy of the notes that the views work on: see types.ts for what it promises. */
import * as api from "./api.ts";
import { Accounts, hasUnkept } from "./db.ts";
import { Value } from "./observable.ts";
import { Session } from "./session.ts";
import type { Account, NoteMeta, NoteView, Notice, Observable, Sync, SyncState } from "./types.ts";

const nobody: SyncState = {
  account: null, session: "unknown", connection: "polling", storage: "kept", unsent: 0, catchingUp: null, isLeaving: false,
};

type AccountMessage = { type: "signedIn"; account: Account } | { type: "signedOut"; id: string; forget: boolean };

/** Opens the notes of whoever was signed in last, and asks the server whether that still holds. */
export function openSync(): Sync {
  return new Notes();
}

/** A sign-out that the server could not be told of is tried again after this time in ms, or when the network is back. */
const leavingPatience = 10_000;

class Notes implements Sync {
  readonly state = new Value<SyncState>(nobody);
  readonly list = new Value<readonly NoteMeta[]>([]);
  private session: Session | null = null;
  private stopList = () => {};
  private opened: ((session: Session) => void)[] = [];
  private notices = new Set<(notice: Notice) => void>();
  private channel = new BroadcastChannel("notesd accounts");
  private last: Promise<unknown> = Promise.resolve();
  private ending: Promise<void> | null = null;
  private endingTimer: ReturnType<typeof setTimeout> | undefined;

  private readonly accounts = Accounts.open();

  constructor() {
    this.channel.onmessage = (e: MessageEvent<AccountMessage>) => void this.turn(() => this.hear(e.data));
    addEventListener("online", this.endSessions);
    void this.start();
  }

  /** Does one thing with the accounts after the other. */
  private turn<T>(act: () => Promise<T>): Promise<T> {
    const result = this.last.then(act);
    this.last = result.catch(() => {});
    return result;
  }

  private async start(): Promise<void> {
    const isKnown = await this.turn(async () => {
      const last = await (await this.accounts).last();
      if (this.session || this.state.value.account) return true; // somebody has just signed in
      if (last) await this.use(last);
      return last !== null;
    });
    if (isKnown) return;
    await this.endSessions();
    await this.askWho();
  }

  /** Asks the server who is signed in, when this browser does not know. */
  private async askWho(): Promise<void> {
    if ((await (await this.accounts).leaving()).length) return;
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

  /** Ends the sessions of accounts that have signed out while the server could not be reached. */
  private readonly endSessions = (): Promise<void> => (this.ending ??= this.tryToEnd().finally(() => (this.ending = null)));

  private async tryToEnd(): Promise<void> {
    clearTimeout(this.endingTimer);
    const accounts = await this.accounts;
    for (const id of await accounts.leaving()) {
      const reply = await new api.Client(id).logOut().catch(() => null);
      const isDecided = reply && reply.status < 500 && reply.status !== 429 && reply.body?.success !== undefined;
      if (isDecided) await accounts.setLeaving((await accounts.leaving()).filter((other) => other !== id));
    }
    const isLeaving = (await accounts.leaving()).length > 0;
    if (isLeaving) this.endingTimer = setTimeout(this.endSessions, leavingPatience);
    if (!this.session) this.set({ isLeaving, session: "none" });
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

  private async use(account: Account, isNew = false): Promise<void> {
    this.set({ ...nobody, account });
    const session = await Session.open(account, {
      notice: (notice) => this.tell(notice),
      state: (state) => this.set(state),
      ended: () => void this.session?.eraseCopies(),
    }, isNew);
    this.session = session;
    for (const open of this.opened.splice(0)) open(session);
    this.stopList = session.list.value.subscribe((rows) => this.list.set(rows));
  }

  /** Closes what is shown. What was typed is kept; `forget` erases it, and `erase` all that the server has. */
  private async leave(how: "keep" | "erase" | "forget" = "keep"): Promise<void> {
    const { session } = this;
    this.stopList();
    this.list.set([]);
    this.state.set(nobody); // the views go, and say their last to the session that they were of
    if (!session) return;
    await new Promise((resolve) => setTimeout(resolve));
    if (how !== "keep") await session.eraseCopies();
    this.session = null;
    await session.close();
    if (how === "forget") await session.store.eraseAll();
    await (await this.accounts).setWaiting(session.account, how === "forget" ? 0 : session.list.unsent);
  }

  private tell(notice: Notice) {
    for (const listener of this.notices) listener(notice);
  }

  private async hear(message: AccountMessage): Promise<void> {
    const id = this.session?.account.id;
    if (message.type === "signedIn" && message.account.id !== id) {
      await this.leave();
      await this.use(message.account, true);
    } else if (message.type === "signedIn") {
      await this.session!.resume();
    } else if (message.id === id) {
      await this.leave(message.forget ? "forget" : "erase");
      this.set({ session: "none" });
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
  draft: Sync["draft"] = (seen, fields) => (Session.of(seen) ?? this.active).draft(seen, fields);
  change: Sync["change"] = (ids, fields) => this.active.change(ids, fields);
  remove: Sync["remove"] = (ids) => this.active.remove(ids);
  mend: Sync["mend"] = (id, result) => this.active.mend(id, result);
  resolve: Sync["resolve"] = (seen, content) => (Session.of(seen) ?? this.active).resolve(seen, content);
  retry: Sync["retry"] = () => this.session?.retry();
  warm: Sync["warm"] = () => this.session?.warm();
  search: Sync["search"] = (query, found, signal) => {
    if (this.session) this.session.search(query, found, signal);
    else found({ ids: [], isComplete: true });
  };
  fetchAll: Sync["fetchAll"] = (progress = () => {}, signal) => this.active.fetchAll(progress, signal);

  async trash(ids: readonly string[]): Promise<() => Promise<void>> {
    await this.active.change(ids, { isTrashed: true });
    return () => this.active.change(ids, { isTrashed: false });
  }

  async signingIn(): Promise<void> {
    await this.ending;
  }

  signedIn(account: Account): Promise<void> {
    return this.turn(async () => {
      const accounts = await this.accounts;
      await accounts.setLast(account);
      await accounts.setLeaving([]); // a sign-in ends the session before
      this.channel.postMessage({ type: "signedIn", account } satisfies AccountMessage);
      if (this.session?.account.id === account.id) {
        this.set({ account });
        await this.session.resume();
      } else {
        await this.leave();
        await this.use(account, true);
      }
      for (const { account: other, unsent } of await accounts.waiting(account.id)) {
        this.tell({ kind: "waiting", email: other.email, unsent });
      }
    });
  }

  async signOut({ forget = false } = {}): Promise<void> {
    await this.turn(async () => {
      const { session } = this;
      if (!session) return;
      const accounts = await this.accounts;
      // First what keeps the next start from showing everything again.
      await accounts.setLeaving([...(await accounts.leaving()), session.account.id]);
      await accounts.setLast(null);
      this.channel.postMessage({ type: "signedOut", id: session.account.id, forget } satisfies AccountMessage);
      await this.leave(forget ? "forget" : "erase");
      this.set({ session: "none", isLeaving: true });
    });
    void this.endSessions();
  }

  hasUnkept(): boolean {
    return hasUnkept();
  }

  async close(): Promise<void> {
    removeEventListener("online", this.endSessions);
    clearTimeout(this.endingTimer);
    await this.turn(() => this.leave());
    this.channel.close();
    (await this.accounts).close();
  }
}
