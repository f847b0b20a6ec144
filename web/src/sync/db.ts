/**
 * What is kept in this browser: a database for each account. What was typed is written with strict
 * durability and acknowledged when its transaction is complete. Where IndexedDB is refused or full, what
 * can't be written is kept in memory, and written as soon as that works.
 */
import { deleteDB, openDB, type DBSchema, type IDBPDatabase } from "idb";
import { upgrade, type Entry, type Kept, type Known, type Step } from "./outbox.ts";
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

export class Store {
  storage: SyncState["storage"] = "kept";
  /** What could not be written; undefined: deleted. */
  private unwritten = new Map<Table, Map<string, unknown>>(tables.map((table) => [table, new Map()]));

  private constructor(private db: IDBPDatabase<Schema> | null, private readonly name: string, private readonly onStorage: () => void) {
    if (!db) this.storage = "memory";
  }

  static async open(account: string, onStorage: () => void): Promise<Store> {
    const name = nameOf(account);
    const store: Store = new Store(await connect(name, () => store.disconnect()).catch(() => null), name, onStorage);
    return store;
  }

  close() {
    this.db?.close();
    this.db = null;
  }

  private disconnect() {
    this.close();
    this.setStorage("memory");
  }

  private setStorage(storage: SyncState["storage"]) {
    if (this.storage === storage) return;
    this.storage = storage;
    this.onStorage();
  }

  private get isWritten() {
    return [...this.unwritten.values()].every((table) => table.size === 0);
  }

  /** Runs a transaction; do may be run again. It is complete when the promise resolves. */
  private async run<T>(durability: "strict" | "relaxed", touched: Table[], act: (tx: Tx) => Promise<T>): Promise<T> {
    if (this.db) {
      for (const isLast of [false, true]) {
        try {
          const result = await this.write(this.db, durability, this.isWritten ? touched : tables, act);
          this.setStorage("kept");
          return result;
        } catch (e) {
          if (!(e instanceof DOMException)) throw e;
          if (!isLast && e.name === "InvalidStateError") this.db = await connect(this.name, () => this.disconnect()).catch(() => null);
          else if (!isLast && e.name === "QuotaExceededError") await this.db.clear("bodies").catch(() => {}); // the server has them
          if (!this.db) break;
          this.setStorage(e.name === "QuotaExceededError" ? "full" : "memory");
        }
      }
    }
    if (!this.db) this.setStorage("memory");
    return act({
      get: async (table, key) => {
        const kept = this.unwritten.get(table)!;
        if (kept.has(key)) return kept.get(key) as never;
        return (await this.db?.get(table, key).catch(() => undefined)) as never;
      },
      put: (table, key, value) => void this.unwritten.get(table)!.set(key, value),
      delete: (table, key) => void this.unwritten.get(table)!.set(key, undefined),
    });
  }

  private async write<T>(db: IDBPDatabase<Schema>, durability: "strict" | "relaxed", touched: Table[], act: (tx: Tx) => Promise<T>): Promise<T> {
    const tx = db.transaction(touched, "readwrite", { durability });
    const failures: Promise<unknown>[] = [];
    const put = (table: Table, key: string, value: unknown) => {
      const store = tx.objectStore(table);
      failures.push(value === undefined ? store.delete(key) : store.keyPath ? store.put(value as never) : store.put(value as never, key));
    };
    const late = [...this.unwritten].map(([table, kept]) => [table, new Map(kept)] as const);
    for (const [table, kept] of late) for (const [key, value] of kept) put(table, key, value);
    const kept = tx.done.catch((e: unknown) => e);
    try {
      const result = await act({
        get: (table, key) => tx.objectStore(table).get(key) as never,
        put,
        delete: (table, key) => put(table, key, undefined),
      });
      await Promise.all(failures);
      await tx.done;
      for (const [table, kept] of late) for (const [key, value] of kept) if (this.unwritten.get(table)!.get(key) === value) this.unwritten.get(table)!.delete(key);
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
    }
  }

  /**
   * Applies an event, in one transaction. `change` gets what is kept; for an edit of a note with an entry
   * nothing is known of the server's note, which does not matter to it.
   */
  async update(id: string, isEdit: boolean, change: (kept: Kept) => Step): Promise<Update> {
    return this.run("strict", tables, async (tx) => {
      const entry = upgraded(await tx.get("outbox", id));
      const note = isEdit && entry ? null : await readNote(tx, id);
      const before: Kept = { entry, note };
      const step = change(before);
      if (isEdit && entry && !step.entry) step.note = before.note = await readNote(tx, id);
      if (step.entry !== entry) step.entry ? tx.put("outbox", id, step.entry) : tx.delete("outbox", id);
      if (step.moved) tx.put("outbox", step.moved.id, step.moved);
      let row = null;
      if (step.note !== before.note) row = await writeNote(tx, id, step.note);
      return { before, step, row };
    });
  }

  /** Applies a page of changes and keeps the cursor behind it, in one transaction. Returns what became of each note. */
  async updateAll(cursor: Cursor, changes: [id: string, change: (kept: Kept) => Step][]): Promise<Map<string, Update>> {
    return this.run("relaxed", tables, async (tx) => {
      tx.put("state", "cursor", cursor);
      const updates = new Map<string, Update>();
      const all = await Promise.all(changes.map(async ([id]) => ({ entry: upgraded(await tx.get("outbox", id)), note: await readNote(tx, id) })));
      for (const [n, [id, change]] of changes.entries()) {
        const before = all[n]!;
        const step = change(before);
        if (step.entry !== before.entry) step.entry ? tx.put("outbox", id, step.entry) : tx.delete("outbox", id);
        if (step.moved) tx.put("outbox", step.moved.id, step.moved);
        const row = await writeNote(tx, id, step.note, cursor.round);
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
    for (const kept of (await this.db?.getAll("outbox").catch(() => [])) ?? []) entries.set(kept.id, kept);
    for (const [id, entry] of this.unwritten.get("outbox")!) entry ? entries.set(id, entry as Entry) : entries.delete(id);
    return [...entries.values()].map((kept) => upgraded(kept)).filter((entry) => entry !== null);
  }

  /** All rows, some at a time. */
  async *rows(batch = 2000): AsyncGenerator<Row[]> {
    yield* this.all("rows", batch);
  }

  /** All contents, some at a time. */
  async *bodies(batch = 200): AsyncGenerator<Body[]> {
    yield* this.all("bodies", batch);
  }

  private async *all<T extends "rows" | "bodies">(table: T, batch: number): AsyncGenerator<Schema[T]["value"][]> {
    const unwritten = this.unwritten.get(table)!;
    for (let after: string | null = null; this.db; ) {
      const range = after === null ? null : IDBKeyRange.lowerBound(after, true);
      const found: Schema[T]["value"][] = await this.db.getAll(table, range, batch).catch(() => []);
      if (!found.length) break;
      after = found.at(-1)!.id;
      yield found.filter(({ id }) => !unwritten.has(id));
    }
    yield [...unwritten.values()].filter((value) => value !== undefined) as Schema[T]["value"][];
  }

  /** Forgets a note and what was typed into it. */
  async forget(id: string): Promise<void> {
    await this.run("strict", tables, async (tx) => {
      for (const table of ["outbox", "rows", "bodies"] as const) tx.delete(table, id);
    });
  }

  /** Erases all but what is unsent. */
  async erase(): Promise<void> {
    for (const table of ["rows", "bodies", "state"] as const) {
      this.unwritten.get(table)!.clear();
      await this.db?.clear(table).catch(() => {});
    }
  }

  /** Erases everything. */
  async eraseAll(): Promise<void> {
    this.close();
    for (const table of this.unwritten.values()) table.clear();
    await deleteDB(this.name).catch(() => {});
  }

  private reader(): Pick<Tx, "get"> {
    return {
      get: async (table, key) => {
        const unwritten = this.unwritten.get(table)!;
        if (unwritten.has(key)) return unwritten.get(key) as never;
        return (await this.db?.get(table, key).catch(() => undefined)) as never;
      },
    };
  }
}

function nameOf(account: string) {
  return `notesd ${account}`;
}

function connect(name: string, onEnd: () => void): Promise<IDBPDatabase<Schema>> {
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

/** What this browser remembers of accounts, outside of their databases: who was signed in last, and who has something unsent. */
export class Accounts {
  private constructor(private readonly db: IDBPDatabase | null) {}

  static async open(): Promise<Accounts> {
    const db = await openDB("notesd", 1, { upgrade: (db) => void db.createObjectStore("accounts") }).catch(() => null);
    return new Accounts(db);
  }

  async last(): Promise<Account | null> {
    return ((await this.db?.get("accounts", "last").catch(() => null)) as Account | null | undefined) ?? null;
  }

  async setLast(account: Account | null): Promise<void> {
    await this.db?.put("accounts", account, "last").catch(() => {});
  }

  /** The accounts with something unsent, besides the one of id. */
  async waiting(id: string): Promise<{ account: Account; unsent: number }[]> {
    const all = ((await this.db?.get("accounts", "waiting").catch(() => null)) ?? []) as { account: Account; unsent: number }[];
    return all.filter((one) => one.account.id !== id);
  }

  async setWaiting(account: Account, unsent: number): Promise<void> {
    const others = await this.waiting(account.id);
    await this.db?.put("accounts", unsent ? [...others, { account, unsent }] : others, "waiting").catch(() => {});
  }

  close() {
    this.db?.close();
  }
}
