/** The notes of one account in this tab: what is shown and typed, and, in the leading tab, what is sent and heard. */
import * as api from "./api.ts";
import { catchUp, cursorOf, Refused } from "./changes.ts";
import { rowOf, Store, type Update } from "./db.ts";
import { newId } from "./ids.ts";
import { Finder } from "./finder.ts";
import { List } from "./list.ts";
import { Events, Leadership, type ChangeEvent } from "./live.ts";
import { Value } from "./observable.ts";
import {
  fieldsOf, isOtherSession, isWaiting, noFields, noPause, rebase, sameText, slower, step,
  type Entry, type Event, type Kept, type Known, type Pace, type Step, type Text,
} from "./outbox.ts";
import { admits, findRows, fold, foldedOf, hasAll } from "./search.ts";
import type {
  Account, Fields, NoteView, Notice, Observable, SaveState, SearchQuery, SearchResult, SyncState,
} from "./types.ts";

/** A new password ends the session that asks for it, too. In this time, in ms, the browser has the one that takes its place. */
const renewal = 1000;
/** What was typed outlives a power cut after this time in ms. A strict transaction a keystroke would wait for the disk. */
const secureAfter = 500;
/** Each keystroke is kept at once; in a text of more than longText characters all that come within keepEvery, in ms. */
const [keepEvery, longText] = [100, 50_000];
/** A save is sent when nothing was typed for pauseTime, or sendAtLeast after the last one. */
const [pauseTime, sendAtLeast] = [600, 4000];
/** A tab that sees the leader do nothing sends itself: requests under one key are done once. */
const leaderPatience = 5000;
const [pollVisible, pollHidden] = [30_000, 300_000];
const [newestNotes, headRows] = [100, 100];
const mostSends = 4;
/** Storage that is refused or full is tried again after this time in ms. */
const storagePatience = 5000;
/** With so many changes in another tab, all rows are read again. */
const manyNotes = 100;

/** The text of an editor that shows a view. Views of the same text share it. */
interface Shown {
  lane: Lane;
  /** As it is kept. */
  kept: Text;
  /** As it was typed. */
  latest: Text;
  /** The server's note that the text is derived from. */
  known: Known | null;
}

/** A note that is open in this tab. */
interface Lane {
  id: string;
  value: Value<NoteView | null | "missing" | "away">;
  /** What was typed and is not kept yet, each part with what it is derived from. */
  queue: { shown: Shown; text: Text }[];
  running: Promise<void> | null;
  /** Whether typed text is being written: what is kept is not what the editor shows then. */
  isWriting: boolean;
  /** Ends the wait before the next writing. */
  hurry: () => void;
  shown: Shown | null;
  kept: Kept;
  isNew: boolean;
  isFetching: boolean;
  lastKept: number;
  securing: ReturnType<typeof setTimeout> | undefined;
}

type Message =
  | { type: "changed"; ids: string[]; notices: Notice[] }
  | { type: "due"; id: string }
  | { type: "retry" }
  | { type: "state"; state: Partial<SyncState> }
  | { type: "hello" };

export interface SessionEvents {
  notice(notice: Notice): void;
  state(state: Partial<SyncState>): void;
  ended(): void;
}

const sessionOf = new WeakMap<NoteView, Session>();
const shownOf = new WeakMap<NoteView, Shown>();

export class Session {
  readonly list: List;
  private lanes = new Map<string, Lane>();
  private moved = new Map<string, string>();
  private finder: Finder;
  private channel: BroadcastChannel;
  private leadership: Leadership;
  private events: Events | null = null;
  private closing = new AbortController();
  private pace = noPause; // in the time of performance.now, which no change of the clock moves
  private due = new Map<string, number>(); // not before this time
  private conflicts = new Map<string, Pace>();
  private debounce = new Map<string, { first: number; timer: ReturnType<typeof setTimeout> }>();
  private sending = new Set<string>();
  private wake: ReturnType<typeof setTimeout> | undefined;
  private pollTimer: ReturnType<typeof setTimeout> | undefined;
  private storageTimer: ReturnType<typeof setTimeout> | undefined;
  private isCatchingUp = false;
  private isBehind = false;
  /** How often something was learned of a note. */
  private learned = new Map<string, number>();
  private since = 0;
  private merges = false;
  private connection: SyncState["connection"] = "polling";
  private isEnded = false;
  private isLoaded: Promise<void>;
  private readonly client: api.Client;
  private reloading: Promise<void> | null = null;

  private erasing: Promise<void> | null = null;

  private constructor(readonly account: Account, readonly store: Store, private on: SessionEvents) {
    this.client = new api.Client(account.id);
    this.list = new List((entry) => this.stateOf(entry));
    this.finder = new Finder(store.name);
    this.channel = new BroadcastChannel(`notesd ${account.id}`);
    this.channel.onmessage = (e: MessageEvent<Message>) => void this.hear(e.data);
    this.post({ type: "hello" });
    this.isLoaded = this.load();
    this.leadership = new Leadership(`notesd ${account.id}`, (isLeader) => this.lead(isLeader));
    addEventListener("online", this.retry);
    addEventListener("pagehide", this.hurry);
    document.addEventListener("visibilitychange", this.look);
  }

  /** The session that a view is of. It may have been closed: what is typed into the view is kept all the same. */
  static of(view: NoteView): Session | undefined {
    return sessionOf.get(view);
  }

  /** Opens the notes of an account. isNew: it has just signed in. */
  static async open(account: Account, on: SessionEvents, isNew = false): Promise<Session> {
    let session: Session | undefined;
    const store = await Store.open(account.id, {
      storage: () => session?.showStorage(),
      rejoined: (id, update) => session?.learnAndTell(id, update),
    });
    if (isNew) await store.begin();
    session = new Session(account, store, on);
    session.showStorage();
    return session;
  }

  async close(): Promise<void> {
    await this.keepAll();
    this.closing.abort();
    this.on = { notice() {}, state() {}, ended() {} };
    this.leadership.close();
    this.stopListening();
    clearTimeout(this.wake);
    clearTimeout(this.storageTimer);
    for (const { timer } of this.debounce.values()) clearTimeout(timer);
    removeEventListener("online", this.retry);
    removeEventListener("pagehide", this.hurry);
    document.removeEventListener("visibilitychange", this.look);
    this.channel.close();
    this.list.close();
    this.finder.close();
    this.store.close();
  }

  private async keepAll(): Promise<void> {
    this.hurry();
    await Promise.all([...this.lanes.values()].map((lane) => lane.running));
    await Promise.all([...this.lanes.values()].map((lane) => this.secure(lane)));
  }

  // What the views ask for.

  open(asked: string): Observable<NoteView | null | "missing" | "away"> {
    const lane = this.lane(this.current(asked));
    if (lane.value.value === null || typeof lane.value.value === "string") void this.fill(lane);
    return lane.value;
  }

  create(fields: Partial<Fields> = {}): string {
    const lane = this.lane(newId());
    lane.isNew = true;
    lane.kept = { entry: null, note: null };
    this.show(lane, { ...noFields, ...fields }, null);
    return lane.id;
  }

  async draft(seen: NoteView, fields: Partial<Fields>): Promise<void> {
    const shown = shownOf.get(seen);
    if (!shown) throw new Error(`not a view of this tab: ${seen.id}`);
    const { lane } = shown;
    let [target, text] = [shown, { ...shown.latest, ...fields }];
    if (lane.shown && shown !== lane.shown) {
      // The editor does not show the newest view yet, as while a word is being composed.
      const both = rebase(shown.latest, text, lane.shown.latest);
      if (both.parts) target = { ...shown, kept: shown.latest, latest: text };
      else [target, text] = [lane.shown, both.text];
      shown.latest = { ...shown.latest, ...fields };
    }
    target.latest = text;
    if (lane.isNew && !lane.kept.entry && !text.title.trim() && !text.content?.trim()) {
      target.kept = text;
      return;
    }
    const last = lane.queue.at(-1);
    if (last?.shown === target) last.text = text;
    else lane.queue.push({ shown: target, text });
    this.sendSoon(lane.id);
    this.announce(lane);
    lane.running ??= this.keepTyped(lane).finally(() => (lane.running = null));
    await lane.running;
  }

  async change(ids: readonly string[], fields: Partial<Omit<Fields, "title" | "content">>): Promise<void> {
    for (const asked of ids) {
      const id = this.current(asked);
      await this.lanes.get(id)?.running;
      const known = this.lanes.get(id)?.shown?.known ?? null;
      await this.apply(id, true, (kept) => {
        const from = kept.entry?.text ?? kept.note ?? known;
        if (!from) return step(kept, { type: "retry" });
        return step(kept, { type: "draft", id, from: fieldsOf(from), text: fields, known, newId: newId() });
      });
      this.sendNow(id);
    }
  }

  async remove(ids: readonly string[]): Promise<void> {
    for (const asked of ids) {
      const id = this.current(asked);
      const reply = await this.client.deleteNote(id);
      if (reply.status !== 200 && reply.status !== 404) throw new api.Failed(reply.status, reply.body?.error ?? "");
      await this.store.forget(id);
      this.list.setRow(id, null);
      this.list.setEntry(id, null);
      this.lanes.get(id)?.value.set("missing");
      this.lanes.delete(id);
      this.tell([id], []);
    }
  }

  async mend(asked: string, result: string): Promise<void> {
    await this.apply(this.current(asked), false, (kept) => step(kept, { type: "mend", result }));
  }

  async resolve(seen: NoteView, content: string): Promise<boolean> {
    if (!seen.clash) return false;
    const event: Event = { type: "resolve", text: seen.fields.content, revision: seen.clash.theirs.revision, content };
    const id = shownOf.get(seen)?.lane.id ?? seen.id;
    const { step: next } = await this.apply(id, false, (kept) => step(kept, event));
    this.sendNow(id);
    return next.isDone;
  }

  readonly retry = () => {
    this.post({ type: "retry" });
    void this.tryAgain();
  };

  search(query: SearchQuery, found: (result: SearchResult) => void, signal?: AbortSignal): void {
    const words = query.words.map(fold).filter(Boolean).slice(0, 32); // as many as a mask has bits
    const ids = findRows(query, words, this.list.value.value);
    if (!words.length) return found({ ids, isComplete: true });
    found({ ids, isComplete: false });
    const seen = new Set(ids);
    const hits = new Set<string>();
    const look = (id: string, lacks: (words: string) => boolean) => {
      const row = seen.has(id) ? undefined : this.list.meta(id);
      if (row && admits(query, row) && hasAll(foldedOf(row).text, words.filter(lacks))) hits.add(id);
    };
    const lookInto = (id: string, content: string) => {
      const text = fold(content);
      look(id, (word) => !text.includes(word));
    };
    for (const { id, text } of this.list.allEntries()) lookInto(id, text.content ?? "");
    for (const { id, content } of this.store.unwrittenBodies()) lookInto(id, content);
    const end = () => {
      if (signal?.aborted) return;
      const more = hits.size ? this.list.value.value.filter((row) => hits.has(row.id)).map((row) => row.id) : [];
      found({ ids: [...ids, ...more], isComplete: true });
    };
    if (this.store.storage === "memory") return end();
    this.finder.find(words, (texts, masks) => {
      for (const [n, id] of texts.entries()) look(id, (word) => !(masks[n]! & (1 << words.indexOf(word))));
      end();
    });
  }

  warm(): void {
    if (this.store.storage !== "memory") this.finder.warm();
  }

  async fetchAll(progress: (done: number, all: number) => void, signal?: AbortSignal): Promise<void> {
    const all = this.list.value.value.length;
    let done = 0;
    for (let since = 0, more = true; more && !signal?.aborted && !this.closing.signal.aborted; ) {
      const { status, body, retryAfter } = await this.client.changes(since, false);
      if (status === 429 || status === 503) {
        await new Promise((resolve) => setTimeout(resolve, retryAfter ?? 5000));
        continue;
      }
      if (status !== 200 || !body) throw new api.Failed(status, "");
      const notes = body.data.flatMap((change) => ("note" in change ? [{ ...change.note, content: change.note.content ?? null }] : []));
      await this.learnAll(notes);
      ({ next: since, more } = body);
      progress((done += notes.length), Math.max(done, all));
    }
  }

  /** Keeps what was typed, and erases the copy of the server's notes, here and on the screen. */
  eraseCopies(): Promise<void> {
    return (this.erasing ??= this.erase().finally(() => (this.erasing = null)));
  }

  private async erase(): Promise<void> {
    this.isEnded = true;
    this.list.hide(true);
    await new Promise((resolve) => setTimeout(resolve)); // the editor goes, and says its last
    await this.keepAll();
    this.since = 0;
    for (const [id, lane] of this.lanes) if (!lane.queue.length && !lane.value.isWatched) this.lanes.delete(id);
    this.list.clear();
    this.list.hide(true);
    this.finder.close();
    await this.store.erase();
  }

  // What is kept.

  private async load(): Promise<void> {
    if (await this.store.getState<boolean>("ended")) {
      this.isEnded = true;
      this.list.hide(true);
      this.on.state({ session: "ended" });
      await this.store.erase(); // it may have been stopped in the middle
    }
    for (const entry of await this.store.entries()) this.list.setEntry(entry.id, entry);
    this.on.state({ unsent: this.list.unsent });
    // The rows that were on top last time are shown at once.
    const head = (await this.store.getState<string[]>("head")) ?? [];
    for (const { note } of await Promise.all(head.map((id) => this.store.read(id)))) if (note) this.list.setRow(note.id, rowOf(note, 0));
    this.list.show();
    await this.loadRows();
    void this.foldAhead();
  }

  /** Loads the rows once for all news of the next half second. */
  private reload(): Promise<void> {
    const load = async () => {
      await new Promise((resolve) => setTimeout(resolve, 500));
      this.reloading = null;
      if (!this.closing.signal.aborted) await this.loadRows();
    };
    return (this.reloading ??= load());
  }

  private async loadRows(): Promise<void> {
    for await (const rows of this.store.rows()) {
      for (const row of rows) if ((this.list.row(row.id)?.revision ?? 0) <= row.revision) this.list.setRow(row.id, row);
    }
    this.list.show();
  }

  /** Folds the rows while nothing else is to be done, so that the first search is as quick as the second. */
  private async foldAhead() {
    const rows = this.list.value.value;
    for (let i = 0; i < rows.length && !this.closing.signal.aborted; i += 500) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      for (const row of rows.slice(i, i + 500)) foldedOf(row);
    }
  }

  /** Applies a change to a note here, and tells the views and the other tabs. */
  private async apply(id: string, isEdit: boolean, change: (kept: Kept) => Step): Promise<Update> {
    const update = await this.store.update(id, isEdit, change);
    this.learnAndTell(id, update);
    return update;
  }

  private learnAndTell(id: string, update: Update) {
    this.learn(id, update);
    if (update.row) this.finder.changed([id]);
    this.tell([id, ...(update.step.moved ? [update.step.moved.id] : [])], update.step.notices);
  }

  private learn(id: string, { before, step, row }: Update) {
    const { entry, note, moved, notices } = step;
    this.learned.set(id, (this.learned.get(id) ?? 0) + 1);
    if (note !== before.note) this.list.setRow(id, row ?? (note && rowOf(note, 0)));
    this.list.setEntry(id, entry);
    if (moved) {
      if (!entry && !note) this.moved.set(id, moved.id);
      this.list.setEntry(moved.id, moved);
    }
    this.on.state({ unsent: this.list.unsent });
    const lane = this.lanes.get(id);
    if (lane) this.refresh(lane, { entry, note: note ?? (entry && lane.kept.note) }, moved);
    for (const notice of notices) this.on.notice(notice);
    if (entry && isWaiting(entry)) this.schedule();
    if (moved) this.sendNow(moved.id);
  }

  private tell(ids: string[], notices: Notice[]) {
    this.post({ type: "changed", ids, notices });
  }

  private post(message: Message) {
    if (!this.closing.signal.aborted) this.channel.postMessage(message);
  }

  private async hear(message: Message): Promise<void> {
    switch (message.type) {
      case "changed":
        this.finder.changed(message.ids);
        for (const id of message.ids.length > manyNotes ? [] : message.ids) await this.reread(id);
        if (message.ids.length > manyNotes) await this.reload();
        for (const notice of message.notices) {
          if (!("id" in notice) || !this.lanes.get(notice.id)?.value.isWatched) continue;
          if (notice.kind === "keptAsNew" && (this.list.row(notice.id) || this.list.entry(notice.id))) continue; // of the other tab alone
          if (notice.kind === "keptAsNew") this.moved.set(notice.id, notice.newId);
          this.on.notice(notice);
        }
        this.on.state({ unsent: this.list.unsent });
        break;
      case "due":
        if (this.leadership.isLeader) this.sendNow(message.id);
        break;
      case "retry":
        await this.tryAgain();
        break;
      case "state":
        if (!this.leadership.isLeader) this.setState(message.state);
        break;
      case "hello":
        if (this.leadership.isLeader) this.tellState();
    }
  }

  /** Reads what another tab has kept of a note. */
  private async reread(id: string): Promise<void> {
    for (;;) {
      const before = this.learned.get(id);
      const kept = await this.store.read(id);
      if (this.learned.get(id) !== before) continue; // something newer is known already
      this.list.setEntry(id, kept.entry);
      this.list.setRow(id, kept.note && rowOf(kept.note, 0));
      const lane = this.lanes.get(id);
      if (lane) this.refresh(lane, kept);
      if (kept.entry && isWaiting(kept.entry) && this.leadership.isLeader) this.sendSoon(id);
      return;
    }
  }

  // Open notes.

  private current(id: string): string {
    for (let next = this.moved.get(id); next !== undefined; next = this.moved.get(id)) id = next;
    return id;
  }

  private lane(id: string): Lane {
    let lane = this.lanes.get(id);
    if (!lane) {
      const value = new Value<NoteView | null | "missing" | "away">(null);
      const kept = { entry: null, note: null };
      lane = {
        id, value, queue: [], running: null, isWriting: false, hurry() {}, shown: null, kept, isNew: false, isFetching: false, lastKept: 0,
        securing: undefined,
      };
      const made = lane;
      // Not at once: who opens the note again at the same moment watches this value.
      value.onIdle = () => setTimeout(() => {
        if (!value.isWatched && !made.running && !made.isNew && this.lanes.get(made.id) === made) this.lanes.delete(made.id);
      });
      this.lanes.set(id, lane);
    }
    return lane;
  }

  /** Shows a note from here, or else from the server. */
  private async fill(lane: Lane): Promise<void> {
    if (lane.isFetching) return;
    lane.isFetching = true;
    try {
      const kept = await this.store.read(lane.id);
      const content = kept.entry ? kept.entry.text.content : kept.note?.content;
      if (typeof content === "string") return this.refresh(lane, kept);
      const reply = await this.client.getNote(lane.id);
      const note = reply.body?.data;
      if (note) await this.apply(lane.id, false, (kept) => step(kept, { type: "remote", note }));
      else if (isOtherSession(reply.status, reply.body)) await this.check();
      if (!isView(lane.value.value)) lane.value.set(reply.status === 404 ? "missing" : "away");
    } catch (e) {
      if (!(e instanceof api.Unreachable)) throw e;
      if (!isView(lane.value.value)) lane.value.set("away");
    } finally {
      lane.isFetching = false;
    }
  }

  /** Shows what is kept of a note, with what was typed and is not kept yet. */
  private refresh(lane: Lane, kept: Kept, moved: Entry | null = null) {
    lane.kept = kept;
    if (moved) return this.move(lane, moved);
    if (lane.isWriting) return; // once more when that is done
    const now = kept.entry?.text ?? (kept.note && fieldsOf(kept.note));
    if (!now && isView(lane.value.value)) return; // erased, or gone: what is shown stays
    if (!now || now.content === null) return void this.fill(lane);
    lane.isNew = false;
    const { shown } = lane;
    const typed = lane.queue.at(-1);
    // The text of a clash is derived from an older note than the base.
    const known = kept.entry?.parts ? (shown?.known ?? null) : kept.entry ? kept.entry.base : kept.note;
    if (!shown || (!typed && !sameText(now, shown.kept))) return this.show(lane, now, known);
    if (sameText(now, shown.kept)) shown.known = known;
    else if (typed && lane.queue.length === 1 && typed.shown === shown) {
      const both = rebase(shown.kept, typed.text, now);
      if (both.parts) return this.announce(lane); // it clashes when it is kept
      const next: Shown = { lane, kept: now, latest: both.text, known };
      lane.queue = [{ shown: next, text: both.text }];
      lane.shown = next;
    }
    this.announce(lane);
  }

  /** Shows a text that is kept, derived from the known note. An editor's text that follows is derived from it. */
  private show(lane: Lane, text: Text, known: Known | null) {
    lane.shown = { lane, kept: text, latest: text, known };
    this.emit(lane, text);
  }

  /** Shows the state of a note with the text that the editor has. */
  private announce(lane: Lane) {
    const text = lane.shown?.latest;
    if (text) this.emit(lane, text);
  }

  private emit(lane: Lane, text: Text) {
    const { entry } = lane.kept;
    const known = entry?.base ?? lane.kept.note ?? lane.shown?.known;
    const theirs = entry?.base;
    const view: NoteView = {
      id: lane.id,
      fields: { ...text, content: text.content ?? "" },
      createdAt: known?.createdAt ?? null,
      updatedAt: known?.updatedAt ?? null,
      revision: known?.revision ?? null,
      state: entry ? this.stateOf(entry) : lane.queue.length ? this.unsentState() : "saved",
      clash: entry?.parts && theirs ? { theirs: { ...theirs, content: theirs.content ?? "" }, parts: entry.parts, result: entry.result } : null,
      problem: entry?.problem ?? null,
    };
    const old = lane.value.value;
    if (isView(old) && isSameView(old, view) && shownOf.get(old) === lane.shown) return;
    shownOf.set(view, lane.shown!);
    sessionOf.set(view, this);
    lane.value.set(view);
  }

  /** The text of a lane has become a note of its own. */
  private move(lane: Lane, entry: Entry) {
    this.lanes.delete(lane.id);
    lane.id = entry.id;
    this.lanes.set(lane.id, lane);
    this.refresh(lane, { entry, note: null });
  }

  private async keepTyped(lane: Lane): Promise<void> {
    while (lane.queue.length) {
      const wait = lane.lastKept + keepEvery - performance.now();
      const isLong = (lane.queue[0]!.text.content?.length ?? 0) > longText;
      if (isLong && wait > 0 && wait <= keepEvery) {
        await new Promise<void>((resolve) => {
          lane.hurry = resolve;
          setTimeout(resolve, wait);
        });
      }
      const typed = lane.queue.shift();
      if (!typed) break;
      lane.lastKept = performance.now();
      const { shown, text } = typed;
      const { id } = lane;
      const from = shown.kept;
      const known = shown.known?.id === id ? shown.known : null; // not that of a note that this one was
      const event: Event = { type: "draft", id, from, text: text as Fields, known, newId: newId() };
      lane.isWriting = true;
      const update = await this.store.update(id, true, (kept) => step(kept, event), "relaxed").finally(() => (lane.isWriting = false));
      shown.kept = text;
      this.learnAndTell(id, update);
      lane.securing ??= setTimeout(() => void this.secure(lane), secureAfter);
    }
  }

  private async secure(lane: Lane): Promise<void> {
    if (lane.securing === undefined || this.closing.signal.aborted) return;
    clearTimeout(lane.securing);
    lane.securing = undefined;
    await this.store.secure(lane.id);
  }

  // States.

  private stateOf(entry: Entry): SaveState {
    if (entry.parts) return "clash";
    if (entry.problem) return "refused";
    return this.unsentState();
  }

  private unsentState(): SaveState {
    if (this.store.storage !== "kept" && (this.connection === "offline" || this.isEnded)) return "unkept";
    return this.connection === "offline" || this.isEnded ? "offline" : "saving";
  }

  private showStorage() {
    this.on.state({ storage: this.store.storage });
    this.showStates();
    clearTimeout(this.storageTimer);
    if (this.store.storage === "kept" || this.closing.signal.aborted) return;
    this.storageTimer = setTimeout(() => void this.store.catchUp().then(() => this.showStorage()), storagePatience);
    this.schedule();
  }

  private showStates() {
    this.list.touchEntries();
    for (const lane of this.lanes.values()) if (lane.shown) this.announce(lane);
  }

  private setConnection(connection: SyncState["connection"]) {
    if (connection === this.connection) return;
    this.setState({ connection });
    this.tellState();
  }

  private setState(state: Partial<SyncState>) {
    if (state.connection) this.connection = state.connection;
    const ends = state.session === "ended" && !this.isEnded;
    if (state.session === "active" && this.isEnded) this.list.hide(false);
    if (state.session) this.isEnded = state.session === "ended";
    this.on.state(state);
    if (ends) this.on.ended();
    this.showStates();
  }

  private tellState() {
    const session = this.isEnded ? "ended" : "active";
    if (this.leadership.isLeader) this.post({ type: "state", state: { connection: this.connection, session } });
  }

  // The network: in the leading tab, and in another one when the leader does nothing.

  private lead(isLeader: boolean) {
    if (!isLeader) {
      this.stopListening();
      return;
    }
    void this.isLoaded.then(async () => {
      if (this.closing.signal.aborted || !this.leadership.isLeader) return;
      for (const entry of await this.store.entries()) this.list.setEntry(entry.id, entry);
      await this.check();
      this.schedule();
    });
  }

  /** Asks who is signed in; sending and listening go on if it is the account. */
  async check(): Promise<boolean> {
    if (this.closing.signal.aborted) return false;
    try {
      let { status, body } = await api.me();
      if (status === 401 && !this.isEnded) {
        await new Promise((resolve) => setTimeout(resolve, renewal));
        if (this.closing.signal.aborted) return false;
        ({ status, body } = await api.me());
      }
      const user = body?.data?.user;
      if (status === 401 || (user && user.id !== this.account.id)) {
        this.end();
      } else if (user) {
        if (this.isEnded) await this.resume();
        this.merges = body?.data?.merges ?? false;
        if (!this.merges) this.checkLater();
        this.setState({ session: "active" });
        this.reached();
        if (this.leadership.isLeader) this.listen();
        return true;
      } else {
        this.setConnection("busy");
        this.checkLater();
      }
    } catch (e) {
      if (!(e instanceof api.Unreachable)) throw e;
      this.setConnection("offline");
      this.checkLater();
    }
    return false;
  }

  /** The server has answered. */
  private reached() {
    this.setConnection(this.events?.isOpen ? "live" : "polling");
    for (const lane of this.lanes.values()) if (lane.value.value === "away" && lane.value.isWatched) void this.fill(lane);
  }

  private checkLater() {
    clearTimeout(this.pollTimer);
    this.pace = slower(this.pace, performance.now(), null, Math.random());
    this.pollTimer = setTimeout(() => void this.check().then(() => this.schedule()), this.pace.until - performance.now());
  }

  private end() {
    this.stopListening();
    if (this.isEnded) return;
    this.setState({ session: "ended" });
    this.tellState();
  }

  private listen() {
    if (this.isEnded || this.events) return;
    void cursorOf(this.store).then(async (cursor) => {
      if (this.events || !this.leadership.isLeader || this.closing.signal.aborted) return;
      this.since = cursor.since;
      if (cursor.isStartingOver && cursor.since === 0) await this.fetchNewest();
      await this.catchUp();
      if (this.events || !this.leadership.isLeader || this.closing.signal.aborted || this.isEnded) return;
      this.events = new Events(() => this.since, (e) => void this.heardOf(e), (isOpen) => {
        if (isOpen) {
          this.pace = noPause;
          this.reached();
          this.schedule();
        } else void this.check();
        this.poll();
      });
      this.poll();
    });
  }

  private stopListening() {
    clearTimeout(this.pollTimer);
    this.events?.close();
    this.events = null;
  }

  private poll() {
    clearTimeout(this.pollTimer);
    if (!this.leadership.isLeader || this.events?.isOpen || this.isEnded) return;
    const wait = document.visibilityState === "visible" ? pollVisible : pollHidden;
    this.pollTimer = setTimeout(() => void this.check().then(() => this.catchUp()).then(() => this.poll()), wait * (0.8 + Math.random() * 0.4));
  }

  /** The newest notes come first, with their texts: a new browser has something to show. */
  private async fetchNewest(): Promise<void> {
    const reply = await this.client.newest(newestNotes).catch(() => null);
    await this.learnAll(reply?.body?.data ?? []);
    this.list.show();
  }

  private async learnAll(notes: readonly Known[]): Promise<void> {
    const updates = await this.store.updateAll(null, notes.map((note) => [note.id, (kept) => step(kept, { type: "remote", note })]));
    for (const [id, update] of updates) this.learn(id, update);
    this.finder.changed([...updates.keys()]);
    this.tell([...updates.keys()], []);
  }

  private async heardOf(e: ChangeEvent): Promise<void> {
    if (e.changeSeq === this.since) return;
    if (e.id !== undefined && e.changeSeq === this.since + 1 && !e.deleted) {
      // Most are echoes of what this browser has just saved: wait for the answer, and ask for nothing.
      for (let n = 0; n < 20 && this.sending.has(e.id); n++) await new Promise((resolve) => setTimeout(resolve, 25));
      const row = this.list.row(e.id);
      if (e.changeSeq === this.since + 1 && row && row.revision >= (e.revision ?? Infinity) && !this.isCatchingUp) {
        this.since = e.changeSeq;
        const cursor = await cursorOf(this.store);
        if (!cursor.isStartingOver) await this.store.setState("cursor", { ...cursor, since: Math.max(cursor.since, this.since) });
        return;
      }
    }
    await this.catchUp();
  }

  private async catchUp(): Promise<void> {
    if (this.isCatchingUp || this.isEnded) {
      this.isBehind = true;
      return;
    }
    this.isCatchingUp = true;
    try {
      do {
        this.isBehind = false;
        const updates = (all: Map<string, Update>) => {
          for (const [id, update] of all) this.learn(id, update);
          this.finder.changed([...all.keys()]);
          const moved = [...all.values()].flatMap(({ step }) => (step.moved ? [step.moved.id] : []));
          if (all.size) this.tell([...all.keys(), ...moved], [...all.values()].flatMap(({ step }) => step.notices));
        };
        const progress = (notes: number | null) => this.on.state({ catchingUp: notes });
        const cursor = await catchUp(this.client, this.store, { updates, progress }, this.closing.signal);
        this.since = cursor.since;
      } while (this.isBehind && !this.closing.signal.aborted);
      if (this.closing.signal.aborted) return;
      this.reached();
      this.list.show();
      await this.store.setState("head", this.list.value.value.slice(0, headRows).map((row) => row.id));
    } catch (e) {
      if (e instanceof api.Unreachable) this.setConnection("offline");
      else if (e instanceof Refused && isOtherSession(e.reply.status, e.reply.body)) await this.check();
      else if (e instanceof Refused) this.setConnection("busy");
      else throw e;
      this.poll();
    } finally {
      this.isCatchingUp = false;
    }
  }

  // Sending.

  private sendSoon(id: string) {
    const now = performance.now();
    const waiting = this.debounce.get(id);
    clearTimeout(waiting?.timer);
    const first = waiting?.first ?? now;
    const timer = setTimeout(() => this.sendNow(id), Math.max(0, Math.min(pauseTime, first + sendAtLeast - now)));
    this.debounce.set(id, { first, timer });
  }

  private sendNow(id: string) {
    clearTimeout(this.debounce.get(id)?.timer);
    this.debounce.delete(id);
    if (this.leadership.isLeader || this.store.storage !== "kept") return this.schedule();
    this.post({ type: "due", id });
    setTimeout(() => {
      const entry = this.list.entry(id);
      if (entry && isWaiting(entry) && !this.closing.signal.aborted) void this.send(id);
    }, leaderPatience);
  }

  /** Sends what waits and may be sent by now. */
  private schedule() {
    clearTimeout(this.wake);
    if (this.isEnded || this.closing.signal.aborted) return;
    if (!this.leadership.isLeader && this.store.storage === "kept") return;
    const now = performance.now();
    let next = Infinity;
    for (const entry of this.list.allEntries()) {
      const { id } = entry;
      if (!isWaiting(entry) || this.sending.has(id) || this.debounce.has(id)) continue;
      const at = Math.max(this.pace.until, this.due.get(id) ?? 0);
      if (at > now || this.sending.size >= mostSends) next = Math.min(next, Math.max(at, now + 50));
      else void this.send(id);
    }
    if (next < Infinity) this.wake = setTimeout(() => this.schedule(), Math.min(next - now, 60_000));
  }

  private async send(id: string): Promise<void> {
    if (this.sending.has(id) || this.isEnded) return;
    this.sending.add(id);
    try {
      // During an upgrade a server of the release before would ignore the base and replace what others wrote.
      if (!this.merges) await this.check();
      if (!this.merges || this.isEnded) return void this.due.set(id, this.pace.until);
      const { sent } = (await this.apply(id, false, (kept) => step(kept, { type: "send", key: newId() }))).step.entry ?? {};
      if (sent) await this.exchange(id, sent);
    } finally {
      this.sending.delete(id);
      this.schedule();
    }
  }

  private async exchange(id: string, sent: NonNullable<Entry["sent"]>): Promise<void> {
    let reply: api.Reply;
    try {
      reply = await this.client.send(sent);
    } catch (e) {
      if (!(e instanceof api.Unreachable)) throw e;
      this.pace = slower(this.pace, performance.now(), null, Math.random());
      return this.setConnection("offline");
    }
    // A server of the release before does not refuse what another user's session brings: there this one's notes look gone.
    if ([401, 403, 404, 409, 410, 412].includes(reply.status) && !(await this.check())) return;
    const event: Event = { type: "answer", key: sent.key, status: reply.status, body: reply.body, newId: newId() };
    const { step: next } = await this.apply(id, false, (kept) => step(kept, event));
    if (next.signedOut) return; // and in again meanwhile: the same is sent again
    if (!next.again) {
      this.pace = noPause;
      this.due.delete(id);
      this.pauseConflicts(id, reply.status === 409);
      this.reached();
      return;
    }
    this.pace = slower(this.pace, performance.now(), reply.retryAfter, Math.random());
    this.due.set(id, this.pace.until);
    if (reply.status === 429 || reply.status === 503) return this.setConnection("busy");
    this.pace = { ...this.pace, until: 0 }; // it may be this note alone
  }

  /** A conflict is answered at once, also with the base; further ones later and later, in case they never end. */
  private pauseConflicts(id: string, isConflict: boolean) {
    if (!isConflict) return void this.conflicts.delete(id);
    const pace = slower(this.conflicts.get(id) ?? noPause, performance.now(), null, Math.random());
    this.conflicts.set(id, pace);
    if (pace.failures > 2) this.due.set(id, pace.until);
  }

  private async tryAgain(): Promise<void> {
    this.pace = noPause;
    this.due.clear();
    if (!this.leadership.isLeader) return;
    await this.check();
    for (const { id, problem } of [...this.list.allEntries()]) if (problem) await this.apply(id, false, (kept) => step(kept, { type: "retry" }));
    this.schedule();
    if (!this.events?.isOpen) await this.catchUp();
  }

  /** Keeps and sends what was typed without waiting for a pause. */
  private readonly hurry = () => {
    for (const id of [...this.debounce.keys()]) this.sendNow(id);
    for (const lane of this.lanes.values()) lane.hurry();
  };

  private readonly look = () => {
    if (document.visibilityState === "hidden") return this.hurry();
    if (this.leadership.isLeader && !this.events?.isOpen) void this.check().then(() => this.catchUp());
  };

  /** The account has signed in again. */
  async resume(): Promise<void> {
    await this.erasing;
    if (this.isEnded) await this.store.begin();
    this.isEnded = false;
    this.list.hide(false);
    this.pace = noPause;
    this.setState({ session: "active" });
    this.tellState();
    await this.tryAgain();
  }
}

function isView(value: NoteView | null | "missing" | "away"): value is NoteView {
  return typeof value === "object" && value !== null;
}

function isSameView(a: NoteView, b: NoteView): boolean {
  return (
    a.id === b.id && a.state === b.state && a.revision === b.revision && a.updatedAt === b.updatedAt && a.problem === b.problem &&
    sameText(a.fields, b.fields) && a.clash?.parts === b.clash?.parts && a.clash?.result === b.clash?.result
  );
}
