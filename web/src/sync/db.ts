/**
 * What is kept in this browser: a database for each account. What was typed is acknowledged when its
 * transaction is complete; a kill of the browser does not harm it from then on, and a power cut not from the
 * strict transaction that follows soon. Where IndexedDB is refused or full, what
 * can't be written is held in memory, and written as soon as that works; nothing that another tab has kept
 * meanwhile is replaced by it.
 */
import { deleteDB, openDB, type DBSchema, type IDBPDatabase } from "idb";
import { newId } from "./ids.ts";
import { rejoin, upgrade, type Entry, type Kept, type Known, type Step } from "./outbox.ts";
import type { Account, SyncState } from "./types.ts";

/** What the list knows of the server's note. */
export interface Row extends Omit<Known, "content"> {
  /** The start of the content; null: the content is not here. */
  excerpt: string | null;
  /** The catch-up from the beginning that brought it last: what a later one does not bring is gone. */
  round: number;
}

interface Body {
  id: string;
  revision: number;
  content: string;
}

/** How far this browser has heard of changes. */
export interface Cursor {
  since: number;
  /** Whether all notes are being fetched anew, and how many times that has begun. */
  isStartingOver: boolean;
  round: number;
}

interface Schema extends DBSchema {
  outbox: { key: string; value: Entry };
  rows: { key: string; value: Row };
  bodies: { key: string; value: Body };
  state: { key: string; value: unknown };
}

type Table = "outbox" | "rows" | "bodies" | "state";
const tables: Table[] = ["outbox", "rows", "bodies", "state"];
const excerptLength = 200;

/** One transaction. */
interface Tx {
  get<T extends Table>(table: T, key: string): Promise<Schema[T]["value"] | undefined>;
  put<T extends Table>(table: T, key: string, value: Schema[T]["value"]): void;
  delete(table: Table, key: string): void;
}

/** A note before and after an event. */
export interface Update {
  before: Kept;
  step: Step;
  row: Row | null;
}

/** What could not be written of a key, and, of the outbox, what the database had before. undefined: deleted, or nothing. */
interface Unwritten {
  value: unknown;
  before: Entry | undefined;
}

/** What could not be written, by the names of databases. It stays in this tab when an account leaves. */
const unwrittenOf = new Map<string, Map<Table, Map<string, Unwritten>>>();

/** Whether this tab alone has something that the server has not. */
export function hasUnkept(): boolean {
  return [...unwrittenOf.values()].some((held) => [...held.get("outbox")!.values()].some(({ value }) => value !== undefined));
}

/** After this time in ms a transaction is given up, and a database that can't be opened is tried again. */
const [longestWrite, openAgain] = [15_000, 5000];

export interface StoreEvents {
  /** The storage has another state. */
  storage(): void;
  /** A note could be written at last, and another tab had kept something of it meanwhile. */
  rejoined(id: string, update: Update): void;
}

export class Store {
  storage: SyncState["storage"] = "kept";
  private readonly unwritten: Map<Table, Map<string, Unwritten>>;
  private db: IDBPDatabase<Schema> | null = null;
  private openedAt = -Infinity;
  private last: Promise<unknown> = Promise.resolve();
  private isForgotten = false;
  private isErased = false;

  private constructor(readonly name: string, private readonly on: StoreEvents) {
    this.unwritten = unwrittenOf.get(name) ?? new Map(tables.map((table) => [table, new Map()]));
    unwrittenOf.set(name, this.unwritten);
  }

  static async open(account: string, on: StoreEvents): Promise<Store> {
    const store = new Store(nameOf(account), on);
    if (!(await store.connect())) store.storage = "memory";
    return store;
  }

  /** Closes the database. What is kept after that opens it again. */
  close() {
    this.db?.close();
    this.db = null;
    this.openedAt = -Infinity;
  }

  /** Opens the database if it is not open. It may be refused, or in use by a later release. */
  private async connect(): Promise<IDBPDatabase<Schema> | null> {
    if (this.db || this.isForgotten || performance.now() - this.openedAt < openAgain) return this.db;
    this.openedAt = performance.now();
    this.db = await connect(this.name, () => this.disconnect()).catch(() => null);
    return this.db;
  }

  private disconnect() {
    this.db?.close();
    this.db = null;
    this.setStorage("memory");
  }

  private setStorage(storage: SyncState["storage"]) {
    if (this.storage === storage) return;
    this.storage = storage;
    this.on.storage();
  }

  private get isWritten() {
    return [...this.unwritten.values()].every((table) => table.size === 0);
  }

  /** Runs a transaction after the one before; act may be run again. It is complete when the promise resolves. */
  private run<T>(durability: "strict" | "relaxed", touched: Table[], act: (tx: Tx) => Promise<T>): Promise<T> {
    const result = this.last.then(() => this.attempt(durability, touched, (tx) => act(this.isErased ? outboxOf(tx) : tx)));
    this.last = result.catch(() => {});
    return result;
  }

  private async attempt<T>(durability: "strict" | "relaxed", touched: Table[], act: (tx: Tx) => Promise<T>): Promise<T> {
    let storage: SyncState["storage"] = "memory";
    for (const isLast of [false, true]) {
      const db = await this.connect();
      if (!db) break;
      try {
        const result = await this.write(db, durability, this.isWritten ? touched : tables, act);
        this.setStorage("kept");
        return result;
      } catch (e) {
        if (!(e instanceof DOMException)) throw e;
        storage = e.name === "QuotaExceededError" ? "full" : "memory";
        if (isLast) break;
        if (storage === "full") await db.clear("bodies").catch(() => {}); // the server has them
        else if (e.name === "InvalidStateError" && this.db === db) this.close();
      }
    }
    this.setStorage(storage);
    const read = new Map<string, Entry | undefined>(); // of the outbox
    return act({
      get: async (table, key) => {
        const kept = this.unwritten.get(table)!.get(key);
        if (kept) return kept.value as never;
        const value = await this.db?.get(table, key).catch(() => undefined);
        if (table === "outbox") read.set(key, value as Entry | undefined);
        return value as never;
      },
      put: (table, key, value) => this.hold(table, key, value, read),
      delete: (table, key) => this.hold(table, key, undefined, read),
    });
  }

  private hold(table: Table, key: string, value: unknown, read: Map<string, Entry | undefined>) {
    if (this.isForgotten) return;
    const held = this.unwritten.get(table)!;
    held.set(key, { value, before: held.has(key) ? held.get(key)!.before : read.get(key) });
  }

  private async write<T>(db: IDBPDatabase<Schema>, durability: "strict" | "relaxed", touched: Table[], act: (tx: Tx) => Promise<T>): Promise<T> {
    const tx = db.transaction(touched, "readwrite", { durability });
    const timer = setTimeout(() => tx.abort(), longestWrite);
    const failures: Promise<unknown>[] = [];
    const put = (table: Table, key: string, value: unknown) => {
      const store = tx.objectStore(table);
      failures.push(value === undefined ? store.delete(key) : store.keyPath ? store.put(value as never) : store.put(value as never, key));
    };
    const writer: Tx = {
      get: (table, key) => tx.objectStore(table).get(key) as never,
      put,
      delete: (table, key) => put(table, key, undefined),
    };
    const kept = tx.done.catch((e: unknown) => e);
    try {
      const late = [...this.unwritten].flatMap(([table, held]) => [...held].map(([key, one]) => [table, key, one] as const));
      const rejoined: [string, Update][] = [];
      for (const [table, key, one] of late) {
        const update = await writeLate(writer, table, key, one);
        if (update) rejoined.push([key, update]);
      }
      const result = await act(writer);
      await Promise.all(failures);
      await tx.done;
      for (const [table, key, one] of late) if (this.unwritten.get(table)!.get(key) === one) this.unwritten.get(table)!.delete(key);
      for (const [id, update] of rejoined) this.on.rejoined(id, update);
      return result;
    } catch (e) {
      await Promise.allSettled(failures);
      try {
        tx.abort();
      } catch {
        // it has ended already
      }
      await kept;
      throw tx.error ?? e;
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Applies an event, in one transaction. `change` gets what is kept; for an edit of a note with an entry
   * nothing is known of the server's note, which does not matter to it.
   */
  async update(id: string, isEdit: boolean, change: (kept: Kept) => Step, durability: "strict" | "relaxed" = "strict"): Promise<Update> {
    return this.run(durability, tables, async (tx) => {
      const entry = upgraded(await tx.get("outbox", id));
      const note = isEdit && entry ? null : await readNote(tx, id);
      const before: Kept = { entry, note };
      const step = change(before);
      if (isEdit && entry && !step.entry) step.note = before.note = await readNote(tx, id);
      putEntries(tx, id, before, step);
      let row = null;
      if (step.note !== before.note) row = await writeNote(tx, id, step.note);
      return { before, step, row };
    });
  }

  /** Makes sure that what was kept of a note, with relaxed durability too, outlives a power cut. */
  async secure(id: string): Promise<void> {
    await this.run("strict", ["outbox"], async (tx) => {
      const entry = await tx.get("outbox", id);
      if (entry) tx.put("outbox", id, entry);
    });
  }

  /** Applies a page of changes and keeps the cursor behind it, if there is one, in one transaction. Returns what became of each note. */
  async updateAll(cursor: Cursor | null, changes: [id: string, change: (kept: Kept) => Step][]): Promise<Map<string, Update>> {
    return this.run("relaxed", tables, async (tx) => {
      if (cursor) tx.put("state", "cursor", cursor);
      const updates = new Map<string, Update>();
      const all = await Promise.all(changes.map(async ([id]) => ({ entry: upgraded(await tx.get("outbox", id)), note: await readNote(tx, id) })));
      for (const [n, [id, change]] of changes.entries()) {
        const before = all[n]!;
        const step = change(before);
        putEntries(tx, id, before, step);
        const row = await writeNote(tx, id, step.note, cursor?.round);
        updates.set(id, { before, step, row });
      }
      return updates;
    });
  }

  async read(id: string): Promise<Kept> {
    const tx = this.reader();
    return { entry: upgraded(await tx.get("outbox", id)), note: await readNote(tx, id) };
  }

  async getState<T>(key: string): Promise<T | undefined> {
    return (await this.reader().get("state", key)) as T | undefined;
  }

  async setState(key: string, value: unknown): Promise<void> {
    await this.run("relaxed", ["state"], async (tx) => tx.put("state", key, value));
  }

  /** All entries. One that this release can't read is left out, and kept. */
  async entries(): Promise<Entry[]> {
    const entries = new Map<string, Entry>();
    for (const kept of (await (await this.connect())?.getAll("outbox").catch(() => [])) ?? []) entries.set(kept.id, kept);
    for (const [id, { value }] of this.unwritten.get("outbox")!) value ? entries.set(id, value as Entry) : entries.delete(id);
    return [...entries.values()].map((kept) => upgraded(kept)).filter((entry) => entry !== null);
  }

  /** All rows, some at a time. */
  async *rows(batch = 2000): AsyncGenerator<Row[]> {
    const unwritten = this.unwritten.get("rows")!;
    for (let after: string | null = null; this.db; ) {
      const range = after === null ? null : IDBKeyRange.lowerBound(after, true);
      const found: Row[] = await this.db.getAll("rows", range, batch).catch(() => []);
      if (!found.length) break;
      after = found.at(-1)!.id;
      yield found.filter(({ id }) => !unwritten.has(id));
    }
    yield valuesOf<Row>(unwritten);
  }

  /** The contents that could not be written. */
  unwrittenBodies(): Body[] {
    return valuesOf<Body>(this.unwritten.get("bodies")!);
  }

  /** Forgets a note and what was typed into it. */
  async forget(id: string): Promise<void> {
    await this.run("strict", tables, async (tx) => {
      for (const table of ["outbox", "rows", "bodies"] as const) tx.delete(table, id);
    });
  }

  /** Writes what could not be written before. */
  async catchUp(): Promise<void> {
    await this.run("strict", tables, async () => {});
  }

  /** Erases all but what is unsent, and says that the session has ended. Until begin no other copy is kept. */
  async erase(): Promise<void> {
    await this.setState("ended", true);
    this.isErased = true;
    await this.last;
    const db = await this.connect();
    for (const table of ["rows", "bodies", "state"] as const) {
      this.unwritten.get(table)!.clear();
      await db?.clear(table).catch(() => {});
    }
    await db?.put("state", true, "ended").catch(() => {});
  }

  /** Says that the session goes on, so that copies of the server's notes are kept. */
  async begin(): Promise<void> {
    this.isErased = false;
    await this.setState("ended", false);
  }

  /** Erases everything, and keeps nothing from then on. */
  async eraseAll(): Promise<void> {
    await this.last;
    this.isForgotten = true;
    this.close();
    for (const table of this.unwritten.values()) table.clear();
    await deleteDB(this.name).catch(() => {});
  }

  private reader(): Pick<Tx, "get"> {
    return {
      get: async (table, key) => {
        const kept = this.unwritten.get(table)!.get(key);
        if (kept) return kept.value as never;
        return (await this.db?.get(table, key).catch(() => undefined)) as never;
      },
    };
  }
}

/** A transaction that writes nothing but the outbox. */
function outboxOf({ get, put, delete: remove }: Tx): Tx {
  return {
    get,
    put: (table, key, value) => (table === "outbox" ? put(table, key, value) : undefined),
    delete: (table, key) => (table === "outbox" ? remove(table, key) : undefined),
  };
}

function putEntries(tx: Tx, id: string, before: Kept, { entry, moved }: Step) {
  if (entry !== before.entry) entry ? tx.put("outbox", id, entry) : tx.delete("outbox", id);
  if (moved) tx.put("outbox", moved.id, moved);
}

/**
 * Writes what could not be written before. Another tab may have kept something since: an entry of that is
 * brought together with this one, and a newer copy of what the server has stays.
 */
async function writeLate(tx: Tx, table: Table, key: string, { value, before }: Unwritten): Promise<Update | null> {
  const there = await tx.get(table, key);
  if (table === "outbox" && JSON.stringify(there) !== JSON.stringify(before)) {
    const kept: Kept = { entry: upgraded(there as Entry | undefined), note: await readNote(tx, key) };
    const step = rejoin(kept, (value as Entry | undefined) ?? null, upgraded(before), newId());
    putEntries(tx, key, kept, step);
    return { before: kept, step, row: null };
  }
  if (isOlder(table, value, there)) return null;
  if (value === undefined) tx.delete(table, key);
  else tx.put(table, key, value as never);
  return null;
}

/** Whether a copy of what the server has is older than another one. */
function isOlder(table: Table, value: unknown, there: unknown): boolean {
  if (typeof value !== "object" || typeof there !== "object" || table === "outbox") return false;
  const age = (of: object | null) => (of as { revision?: number; since?: number } | null)?.revision ?? (of as { since?: number } | null)?.since ?? 0;
  return age(value) < age(there);
}

function valuesOf<T>(held: Map<string, Unwritten>): T[] {
  return [...held.values()].flatMap(({ value }) => (value === undefined ? [] : [value as T]));
}

function nameOf(account: string) {
  return `notesd ${account}`;
}

/** Opens a database. It fails where IndexedDB is refused, which some browsers say at once. */
async function connect(name: string, onEnd: () => void): Promise<IDBPDatabase<Schema>> {
  return openDB<Schema>(name, 1, {
    upgrade(db) {
      for (const table of ["outbox", "rows", "bodies"] as const) db.createObjectStore(table, { keyPath: "id" });
      db.createObjectStore("state");
    },
    blocking: onEnd, // another tab has a later release, or forgets the account
    terminated: onEnd,
  });
}

function upgraded(kept: Entry | undefined): Entry | null {
  return kept ? upgrade(kept) : null;
}

async function readNote(tx: Pick<Tx, "get">, id: string): Promise<Known | null> {
  const [row, body] = await Promise.all([tx.get("rows", id), tx.get("bodies", id)]);
  if (!row) return null;
  const { excerpt: _, round: __, ...note } = row;
  return { ...note, content: body && body.revision === row.revision ? body.content : null };
}

async function writeNote(tx: Tx, id: string, note: Known | null, round?: number): Promise<Row | null> {
  if (!note) {
    tx.delete("rows", id);
    tx.delete("bodies", id);
    return null;
  }
  const row = rowOf(note, round ?? ((await tx.get("state", "cursor")) as Cursor | undefined)?.round ?? 0);
  tx.put("rows", id, row);
  if (note.content === null) tx.delete("bodies", id);
  else tx.put("bodies", id, { id, revision: note.revision, content: note.content });
  return row;
}

export function rowOf(note: Known, round: number): Row {
  const { id, title, content, tags, color, isPinned, isFavorite, isArchived, isMarkdown, isTrashed, trashedAt, createdAt, updatedAt, revision } = note;
  return {
    id, title, tags, color, isPinned, isFavorite, isArchived, isMarkdown, isTrashed, trashedAt, createdAt, updatedAt, revision, round,
    excerpt: content === null ? null : excerptOf(content),
  };
}

export function excerptOf(content: string): string {
  return content.slice(0, excerptLength);
}

/**
 * What this browser remembers of accounts, outside of their databases: who was signed in last, who has
 * something unsent, and whose session is still to be ended, since the server could not be told of a sign-out.
 */
export class Accounts {
  /** Where nothing is kept, this tab remembers. */
  private remembered = new Map<string, unknown>();

  private constructor(private readonly db: IDBPDatabase | null) {}

  static async open(): Promise<Accounts> {
    const open = async () => openDB("notesd", 1, { upgrade: (db) => void db.createObjectStore("accounts") });
    return new Accounts(await open().catch(() => null));
  }

  private async get<T>(key: string): Promise<T | undefined> {
    if (this.remembered.has(key)) return this.remembered.get(key) as T;
    return (await this.db?.get("accounts", key).catch(() => undefined)) as T | undefined;
  }

  private async set(key: string, value: unknown): Promise<void> {
    this.remembered.set(key, value);
    if (!this.db) return;
    await this.db.put("accounts", value, key).then(() => this.remembered.delete(key), () => {});
  }

  async last(): Promise<Account | null> {
    return (await this.get<Account | null>("last")) ?? null;
  }

  async setLast(account: Account | null): Promise<void> {
    await this.set("last", account);
  }

  /** The accounts with something unsent, besides the one of id. */
  async waiting(id: string): Promise<{ account: Account; unsent: number }[]> {
    const all = (await this.get<{ account: Account; unsent: number }[]>("waiting")) ?? [];
    return all.filter((one) => one.account.id !== id);
  }

  async setWaiting(account: Account, unsent: number): Promise<void> {
    const others = await this.waiting(account.id);
    await this.set("waiting", unsent ? [...others, { account, unsent }] : others);
  }

  /** The ids of the accounts whose sessions are to be ended. */
  async leaving(): Promise<readonly string[]> {
    return (await this.get<string[]>("leaving")) ?? [];
  }

  async setLeaving(ids: readonly string[]): Promise<void> {
    await this.set("leaving", ids);
  }

  close() {
    this.db?.close();
  }
}
