/** Browsers as tests see them: what is kept, and tabs with an editor. */
import { fieldsOf, isWaiting, sameText, step, type Event, type Kept, type Known, type Sent, type Step, type Text } from "./outbox.ts";
import type { Response } from "./modelserver.ts";
import type { Note } from "./types.ts";

/** The server as far as a browser sees it. */
export interface Server {
  notes: Map<string, Note>;
  handle(sent: Sent): Response;
}

/** A browser: what it keeps is there after a kill, its tabs are not. */
export class Browser {
  kept = new Map<string, Kept>();
  tabs: Tab[] = [];
  underWay: Sent | null = null;
  response: Response | null = null;
  moved = new Map<string, string>();
  constructor(readonly server: Server, readonly number: number, readonly ids: () => string) {}

  /** Keeps what an event makes of a note, in one step. */
  step(id: string, event: Event): Step {
    const next = step(this.kept.get(id) ?? { entry: null, note: null }, event);
    this.kept.set(id, { entry: next.entry, note: next.note });
    if (next.moved) this.kept.set(next.moved.id, { entry: next.moved, note: null });
    for (const notice of next.notices) if (notice.kind === "keptAsNew") this.moved.set(notice.id, notice.newId);
    return next;
  }

  text(id: string): Text | null {
    const kept = this.kept.get(id);
    return kept?.entry?.text ?? (kept?.note ? fieldsOf(kept.note) : null);
  }

  /** Hears of all notes, as from /api/changes. Without contents it is as from the beginning. */
  poll(isMeta = false) {
    for (const note of this.server.notes.values()) this.step(note.id, { type: "remote", note: isMeta ? { ...note, content: null } : note });
    for (const [id, { note }] of this.kept) if (note && !this.server.notes.has(id)) this.step(id, { type: "gone", newId: this.ids() });
  }

  send() {
    if (this.underWay) return;
    for (const [id, { entry }] of this.kept) {
      if (!entry || !isWaiting(entry)) continue;
      this.underWay = entry.sent ?? this.step(id, { type: "send", key: this.ids() }).entry!.sent;
      return;
    }
  }

  arrive() {
    if (this.underWay && !this.response) this.response = this.server.handle(this.underWay);
  }

  hear() {
    const [sent, response] = [this.underWay, this.response];
    if (!sent || !response) return;
    this.underWay = this.response = null;
    const id = [...this.kept].find(([, { entry }]) => entry?.sent?.key === sent.key)?.[0];
    if (id) this.step(id, { type: "answer", key: sent.key, ...response, newId: this.ids() });
  }

  kill() {
    this.tabs = [];
    this.lose();
  }

  lose() {
    this.underWay = this.response = null;
  }
}

/** A tab with an editor. */
export class Tab {
  local: Text;
  /** The server's note that `from` is derived from. */
  known: Known | null = null;
  constructor(readonly browser: Browser, public id: string, public from: Text) {
    this.local = from;
    this.learn();
  }

  private learn() {
    const kept = this.browser.kept.get(this.id);
    const text = this.browser.text(this.id);
    if (kept?.entry?.parts || !text || !sameText(text, this.from)) return; // a clash is of an older note than the base
    this.known = kept?.entry ? kept.entry.base : kept!.note;
  }

  /** Keeps what was typed. */
  flush(newId: string) {
    const { title, content, tags, color, isPinned, isFavorite, isArchived, isMarkdown, isTrashed } = this.local;
    const text = { title, content: content!, tags, color, isPinned, isFavorite, isArchived, isMarkdown, isTrashed };
    this.browser.step(this.id, { type: "draft", id: this.id, from: this.from, text, known: this.known, newId });
    this.from = this.local;
    this.learn();
  }

  /** Shows what is kept, unless something was typed. */
  show() {
    if (this.local !== this.from) return;
    const moved = this.browser.moved.get(this.id);
    if (moved) [this.id, this.known] = [moved, null];
    const text = this.browser.text(this.id);
    if (!text || text.content === null) return;
    this.local = this.from = text;
    this.learn();
  }
}
