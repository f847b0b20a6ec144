/** A model of the server for tests: the rules of /api/notes and /api/changes, in memory. */
import { isClean, mergeTags, mergeText } from "./merge.ts";
import { fieldsOf, noFields, type Sent } from "./outbox.ts";
import type { Fields, Note } from "./types.ts";

export interface Response {
  status: number;
  body: unknown;
}

export class ModelServer {
  notes = new Map<string, Note>();
  /** The versions of each note that are kept, by revision. */
  versions = new Map<string, Map<number, Note>>();
  deleted = new Set<string>();
  keys = new Map<string, { id: string; request: string }>();
  isSignedIn = true;
  /** Whether another user has signed in. */
  isOther = false;
  /** The status of the answer to every write, or 0 if they are done. */
  refuses = 0;

  handle(sent: Sent): Response {
    if (!this.isSignedIn) return refusal(401, "Authentication required");
    if (this.isOther) return { status: 412, body: { success: false, error: "Another user is signed in", code: "other_user" } };
    if (this.refuses) return refusal(this.refuses, "Refused");
    const request = `${sent.method} ${sent.path}\n${sent.body}`;
    const used = this.keys.get(sent.key);
    if (used) {
      if (used.request !== request) return refusal(422, "Idempotency-Key was used with another body");
      const note = this.notes.get(used.id);
      return note ? success(200, note) : refusal(404, "Note not found");
    }
    const body = JSON.parse(sent.body);
    const response = sent.method === "POST" ? this.create(body) : this.patch(decodeURIComponent(sent.path.split("/")[3]!), body);
    const { data } = response.body as { data?: Note };
    if (response.status < 300) this.keys.set(sent.key, { id: data!.id, request });
    return response;
  }

  delete(id: string) {
    this.notes.delete(id);
    this.deleted.add(id);
  }

  private create({ id, ...fields }: Fields & { id: string }): Response {
    if (this.deleted.has(id)) return refusal(410, "Note was deleted");
    const there = this.notes.get(id);
    if (there) return success(200, there);
    const at = "2026-01-02T03:04:05.678Z";
    return success(201, this.keep({ ...noFields, ...fields, id, trashedAt: null, createdAt: at, updatedAt: at, revision: 1 }));
  }

  private patch(id: string, { baseRevision, base: copy, ...fields }: Patch): Response {
    const note = this.notes.get(id);
    if (!note) return refusal(404, "Note not found");
    if (baseRevision === undefined || baseRevision === note.revision) return success(200, this.change(note, fields));
    const kept = baseRevision < note.revision ? this.versions.get(id)!.get(baseRevision) : undefined;
    if (!kept && !copy) return conflict(note, null);
    const base: Note = kept ?? { ...note, ...copy };
    const merged: Partial<Fields> = {};
    for (const name of Object.keys(fields) as (keyof Fields)[]) {
      Object.assign(merged, { [name]: fields[name] === base[name] ? note[name] : fields[name] });
    }
    if (fields.tags) merged.tags = mergeTags(base.tags, fields.tags, note.tags);
    if (fields.content !== undefined) {
      const parts = mergeText(base.content, fields.content, note.content);
      if (!isClean(parts)) return conflict(note, parts);
      merged.content = parts[0].text;
    }
    return success(200, this.change(note, merged), { base: baseRevision, onto: note.revision, clean: true });
  }

  private change(note: Note, fields: Partial<Fields>): Note {
    const next = { ...note, ...fields };
    if (JSON.stringify(fieldsOf(next)) === JSON.stringify(fieldsOf(note))) return note;
    return this.keep({ ...next, revision: note.revision + 1 });
  }

  private keep(note: Note): Note {
    this.notes.set(note.id, note);
    const versions = this.versions.get(note.id) ?? new Map<number, Note>();
    this.versions.set(note.id, versions.set(note.revision, note));
    return note;
  }
}

type Patch = Partial<Fields> & { baseRevision?: number; base?: Partial<Note> };

function success(status: number, data: Note, merge?: unknown): Response {
  return { status, body: { success: true, data, ...(merge ? { merge } : {}) } };
}

function refusal(status: number, error: string): Response {
  return { status, body: { success: false, error } };
}

function conflict(data: Note, merge: unknown): Response {
  return { status: 409, body: { success: false, error: "Note has changed", data, merge } };
}
