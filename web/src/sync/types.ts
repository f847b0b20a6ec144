/**
 * What the app knows of notes and how it changes them. The views use this interface alone, but for the
 * texts of merges (merge.ts): behind it are the copy of the notes in IndexedDB, the outbox that sends what
 * was typed, and the news from other tabs and devices.
 */

/** What a person can change of a note. */
export interface Fields {
  /** May be empty here. Such a note is sent with the first words of its content as title. */
  title: string;
  content: string;
  tags: readonly string[];
  color: string | null;
  isPinned: boolean;
  isFavorite: boolean;
  isArchived: boolean;
  isMarkdown: boolean;
  isTrashed: boolean;
}

/** A note as the server has it. Times are ISO 8601 in UTC. */
export interface Note extends Fields {
  id: string;
  trashedAt: string | null;
  createdAt: string;
  updatedAt: string;
  revision: number;
}

/**
 * saved: the server has it. saving: it is kept here and on its way. offline: it is kept here until
 * the server can be reached or the account signs in again. clash: others changed the same lines, and
 * a person has to choose. refused: it is kept here, and the server does not take it (see Problem).
 * unkept: it is only in this tab, since the storage of the browser is refused or full.
 */
export type SaveState = "saved" | "saving" | "offline" | "clash" | "refused" | "unkept";

/** A row of the list. */
export interface NoteMeta extends Omit<Note, "content"> {
  /** The start of the content, at most 200 characters; null if the content is not here. */
  excerpt: string | null;
  /** Whether the content is here, so that it can be read without a network. */
  isHere: boolean;
  state: SaveState;
}

/** A piece of a merged text: what all agree on, or what each side made of the base. */
export type MergePart = { text: string } | { base: string; theirs: string; yours: string };

export interface Clash {
  /** The note as others left it. */
  theirs: Note;
  /** The content in order. "theirs" is what the server has, "yours" what was typed here. */
  parts: readonly MergePart[];
  /** What a person has made of it so far (see Sync.mend), or null. */
  result: string | null;
}

/** Why the server does not take what is kept here. It is tried again after the next edit, or by Sync.retry. */
export interface Problem {
  status: number;
  /** What the server says. */
  message: string;
  /** What is wrong with which member. */
  fields: Readonly<Record<string, string>>;
}

/**
 * A note as an editor shows it. Views are immutable: a newer one arrives when something changes. An
 * editor hands the view that its text is derived from to Sync.draft, so that what others wrote
 * meanwhile is never taken back: keep the view, and replace it at the moment when you show the text of
 * a newer one.
 */
export interface NoteView {
  readonly id: string;
  readonly fields: Fields;
  readonly createdAt: string | null;
  readonly updatedAt: string | null;
  /** null: the server has not seen the note yet. */
  readonly revision: number | null;
  readonly state: SaveState;
  readonly clash: Clash | null;
  readonly problem: Problem | null;
}

export interface Account {
  id: string;
  email: string;
  name: string;
}

export interface SyncState {
  /** Whose notes are shown, null: nobody has signed in here. */
  account: Account | null;
  /**
   * ended: the session of the account is over. Its notes are shown no longer, and what is unsent waits here
   * until the same person signs in.
   */
  session: "unknown" | "active" | "ended" | "none";
  /** offline: the server can't be reached. busy: it asked to wait. live: changes arrive at once. */
  connection: "offline" | "busy" | "polling" | "live";
  /** memory: IndexedDB is refused. full: there is no room for more. Both: close no tab before all is saved. */
  storage: "kept" | "memory" | "full";
  /** The number of notes with something that the server has not. */
  unsent: number;
  /** Somebody has signed out, and the server could not be told of it yet. */
  isLeaving: boolean;
  /** The notes that the first catch-up has brought so far; null when it is complete. */
  catchingUp: number | null;
}

/** Something that happened to a note and that a person should be told. */
export type Notice =
  /** The note is gone elsewhere, so what was typed is kept as the new note `newId`. Views of `id` go there. */
  | { kind: "keptAsNew"; id: string; newId: string; title: string }
  /** It was in the trash; the edit took it out. */
  | { kind: "broughtBack"; id: string; title: string }
  /** Another account signed in here while the notes of `email` wait. */
  | { kind: "waiting"; email: string; unsent: number };

/** A value that changes. `subscribe` calls back at once with the present value, and returns its end. */
export interface Observable<T> {
  readonly value: T;
  subscribe(listener: (value: T) => void): () => void;
}

export interface SearchQuery {
  /** All of these words are in title, content or tags, in any letter case and without accents. */
  words: readonly string[];
  tags?: readonly string[];
  /** Absent: any. */
  isPinned?: boolean;
  isFavorite?: boolean;
  /** Absent: not archived. */
  isArchived?: boolean;
  /** Absent: not in the trash. */
  isTrashed?: boolean;
  /** ISO times or their beginnings; of updatedAt. */
  before?: string;
  after?: string;
}

export interface SearchResult {
  ids: readonly string[];
  /** Whether the bodies that are here have all been looked at; false: a longer result follows. */
  isComplete: boolean;
}

export interface Sync {
  readonly state: Observable<SyncState>;
  /** All notes, also archived ones and the trash: favourites first, then pinned ones, then by updatedAt, falling. */
  readonly list: Observable<readonly NoteMeta[]>;
  /** The row of a note in the list. */
  meta(id: string): NoteMeta | undefined;

  /** Tells of notices until the returned function is called. */
  onNotice(listener: (notice: Notice) => void): () => void;

  /**
   * Opens a note for reading and writing, from here or else from the server. The view is null as long
   * as it is being fetched, "missing" if there is no such note, "away" if it is not here and the server
   * can't be reached.
   */
  open(id: string): Observable<NoteView | null | "missing" | "away">;

  /** Creates a note and returns its id at once. It is kept with the first draft that has a text. */
  create(fields?: Partial<Fields>): string;

  /**
   * Keeps what was typed. Call it at every keystroke with what has changed; `seen` is the view that the
   * text is derived from. The promise resolves when it is safe here, or, as state.storage says, in this tab alone.
   */
  draft(seen: NoteView, fields: Partial<Fields>): Promise<void>;

  /** Changes flags, colour or tags of notes whether or not they are open. */
  change(ids: readonly string[], fields: Partial<Omit<Fields, "title" | "content">>): Promise<void>;

  /** Trashes notes. The returned function takes it back. */
  trash(ids: readonly string[]): Promise<() => Promise<void>>;

  /** Deletes notes for good. It needs the server, and fails with an error where that refuses or can't be reached. */
  remove(ids: readonly string[]): Promise<void>;

  /** Keeps the result that a person is making of a clash. Nothing is sent. */
  mend(id: string, result: string): Promise<void>;
  /** Ends a clash with a text. It says false if the clash is another by now: show the new view. */
  resolve(seen: NoteView, content: string): Promise<boolean>;

  /** Tries to send what the server refused, and all that waits, at once. */
  retry(): void;

  /** Gets ready for searches. Call it when one is about to be typed. */
  warm(): void;
  /** Looks for notes here. The callback comes once or twice (see SearchResult), not after an abort. */
  search(query: SearchQuery, found: (result: SearchResult) => void, signal?: AbortSignal): void;

  /** Fetches the content of every note that is not here yet, for reading without a network. */
  fetchAll(progress?: (done: number, all: number) => void, signal?: AbortSignal): Promise<void>;

  /** Waits for the end of an earlier session. Call it before a request to sign in: its answer sets the same cookie. */
  signingIn(): Promise<void>;
  /** Says who has signed in. What waits under this account is sent. */
  signedIn(account: Account): Promise<void>;
  /**
   * Erases the account's notes here, and ends the session as soon as the server can be reached. What is unsent
   * stays under the account, unseen, until it signs in again; with `forget` it is erased as well.
   */
  signOut(options?: { forget?: boolean }): Promise<void>;

  /** Whether this tab alone has something that the server has not: ask before it is closed. */
  hasUnkept(): boolean;

  /** Stops everything. For tests and before a page is closed. */
  close(): Promise<void>;
}
