/** The list of notes, the search box above it, and what can be done with several notes at once. */
import { batch } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import {
  cursor, go, newNote, notes, prefer, preferences, query, removeForGood, route, rows, selected, setColor, sync, syncState, tags, toggle, trash,
} from "./app.ts";
import { Icon, IconButton } from "./icons.tsx";
import { matches, tagQuery, type Folder } from "./query.ts";
import { colors } from "./colors.tsx";
import type { NoteMeta, SaveState } from "./sync/types.ts";

/** The height of a row in pixels, as app.css has it. */
const rowHeight = 84;

const folders: [Folder, string][] = [
  ["notes", "Notes"],
  ["archive", "Archive"],
  ["trash", "Trash"],
];

export function Sidebar() {
  return (
    <section class="sidebar" aria-label="Notes">
      <div class="bar">
        <IconButton icon="user" label="Account and settings" onClick={() => go({ page: "account", note: null })} />
        <SearchBox />
        <button type="button" class="primary new" aria-keyshortcuts="c" title="New note (c)" onClick={() => newNote()}>
          <Icon name="add" /> New
        </button>
      </div>
      <nav class="folders" aria-label="Folders">
        {folders.map(([folder, name]) => (
          <a
            href={folder === "notes" ? "/" : `/#in=${folder}`}
            aria-current={route.value.folder === folder ? "page" : undefined}
            onClick={(e) => {
              e.preventDefault();
              batch(() => {
                selected.value = new Set();
                go({ folder, note: null });
              });
            }}
          >
            {name}
          </a>
        ))}
      </nav>
      <Tags />
      {selected.value.size > 0 && <Selection />}
      <List />
      <Connection />
    </section>
  );
}

function SearchBox() {
  const text = route.value.query;
  const saved = preferences.value.searches;
  return (
    <search class="search">
      <Icon name="search" />
      <input
        id="search"
        type="search"
        value={text}
        placeholder="Search"
        aria-label="Search notes"
        aria-keyshortcuts="/"
        aria-describedby="search-help"
        autocomplete="off"
        list="searches"
        onFocus={() => sync.warm()}
        onInput={(e) => go({ query: e.currentTarget.value }, "replaceSoon")}
        onKeyDown={(e) => {
          if (e.key === "Escape" && text === "") e.currentTarget.blur();
          if (e.key === "Enter" || e.key === "ArrowDown") {
            const first = rows.value[0];
            if (!first) return;
            e.preventDefault();
            moveTo(first.id);
            if (e.key === "Enter") go({ note: first.id });
          }
        }}
      />
      <span id="search-help" class="hidden">
        Words, tag:name, is:pinned, is:favorite, is:archived, before:2026-01, after:2026-01
      </span>
      <datalist id="searches">
        {saved.map((s) => (
          <option value={s} />
        ))}
      </datalist>
      {text !== "" && (
        <IconButton
          icon="favorite"
          label={saved.includes(text) ? "Forget this search" : "Keep this search"}
          pressed={saved.includes(text)}
          onClick={() => prefer({ searches: saved.includes(text) ? saved.filter((s) => s !== text) : [...saved, text] })}
        />
      )}
    </search>
  );
}

/** The tags, and the searches that were kept, as buttons that search for them. */
function Tags() {
  const most = 30;
  const [all, setAll] = useState(false);
  const text = route.value.query;
  const saved = preferences.value.searches;
  const shown = all ? tags.value : tags.value.slice(0, most);
  if (shown.length === 0 && saved.length === 0) return null;
  const chip = (value: string, name: string) => (
    <button type="button" class="chip" aria-pressed={text === value} onClick={() => go({ query: text === value ? "" : value, note: null })}>
      {name}
    </button>
  );
  return (
    <div class="tags" role="group" aria-label="Searches and tags">
      {saved.map((s) => chip(s, s))}
      {shown.map(([tag]) => chip(tagQuery(tag), "#" + tag))}
      {tags.value.length > most && (
        <button type="button" class="chip" aria-expanded={all} onClick={() => setAll(!all)}>
          {all ? "fewer" : `all ${tags.value.length}`}
        </button>
      )}
    </div>
  );
}

/** What can be done with the notes that are selected. */
function Selection() {
  const inTrash = route.value.folder === "trash";
  return (
    <div class="selection" role="toolbar" aria-label="Selected notes">
      <span>{selected.value.size} selected</span>
      <IconButton icon="pin" label="Pin" onClick={() => void toggle("isPinned")} />
      <IconButton icon="favorite" label="Favourite" onClick={() => void toggle("isFavorite")} />
      <IconButton icon="archive" label="Archive" onClick={() => void toggle("isArchived")} />
      <select aria-label="Colour" onChange={(e) => void setColor(e.currentTarget.value || null)}>
        <option selected disabled>
          Colour
        </option>
        {colors.map(([name, value]) => (
          <option value={value ?? ""}>{name}</option>
        ))}
      </select>
      <IconButton icon={inTrash ? "restore" : "trash"} label={inTrash ? "Take out of the trash" : "Trash"} onClick={() => void trash()} />
      {inTrash && <IconButton icon="close" label="Delete for good" onClick={() => void removeForGood()} />}
      <button type="button" onClick={() => (selected.value = new Set(rows.value.map((n) => n.id)))}>
        All
      </button>
      <button type="button" onClick={() => (selected.value = new Set())}>
        None
      </button>
    </div>
  );
}

/** Moves the keyboard to a note of the list. */
export function moveTo(id: string): void {
  cursor.value = id;
  const list = document.getElementById("list");
  const at = rows.value.findIndex((n) => n.id === id);
  if (!list || at < 0) return;
  if (at * rowHeight < list.scrollTop) list.scrollTop = at * rowHeight;
  if ((at + 1) * rowHeight > list.scrollTop + list.clientHeight) list.scrollTop = (at + 1) * rowHeight - list.clientHeight;
  requestAnimationFrame(() => document.getElementById("row-" + id)?.focus());
}

/** Moves the keyboard up or down in the list. */
export function moveBy(step: number): void {
  const at = rows.value.findIndex((n) => n.id === (cursor.value ?? route.value.note));
  const next = rows.value[Math.max(0, Math.min(rows.value.length - 1, at + step))];
  if (next) moveTo(next.id);
}

/** The rows that can be seen, and some above and below. The others are only room. */
function List() {
  const all = rows.value;
  const box = useRef<HTMLDivElement>(null);
  const [range, setRange] = useState<[number, number]>([0, 16]);
  const look = () => {
    const e = box.current;
    if (!e) return;
    const first = Math.max(0, Math.floor(e.scrollTop / rowHeight) - 4);
    const last = Math.ceil((e.scrollTop + e.clientHeight) / rowHeight) + 4;
    setRange((r) => (r[0] === first && r[1] === last ? r : [first, last]));
  };
  useLayoutEffect(look, [all.length]);
  useEffect(() => {
    const watch = new ResizeObserver(look);
    watch.observe(box.current!);
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    box.current!.scrollTop = 0;
  }, [route.value.folder, route.value.query]);
  const current = cursor.value ?? route.value.note ?? all[0]?.id;
  const shown = all.slice(range[0], range[1]);
  const reachable = shown.some((n) => n.id === current) ? current : shown[0]?.id;
  return (
    <div class="list" id="list" ref={box} onScroll={look} tabIndex={-1}>
      {all.length === 0 && <Nothing />}
      <ul style={{ height: `${all.length * rowHeight}px` }}>
        {shown.map((n, i) => (
          <Row key={n.id} note={n} at={range[0] + i} of={all.length} reachable={n.id === reachable} />
        ))}
      </ul>
    </div>
  );
}

function Nothing() {
  const state = syncState.value;
  if (state.catchingUp !== null && notes.value.length === 0 && state.connection !== "offline") return <p class="nothing">Fetching the notes…</p>;
  if (route.value.query !== "") return <p class="nothing">No note matches.</p>;
  switch (route.value.folder) {
    case "trash":
      return <p class="nothing">The trash is empty.</p>;
    case "archive":
      return <p class="nothing">Nothing is archived.</p>;
  }
  return (
    <p class="nothing">
      No notes yet.
      <button type="button" class="primary" onClick={() => newNote()}>
        Write the first one
      </button>
    </p>
  );
}

const stateWords: Partial<Record<SaveState, string>> = {
  offline: "kept here, not sent yet",
  clash: "others changed the same lines",
  refused: "not taken by the server",
  unkept: "not kept yet",
};

function Row({ note, at, of, reachable }: { note: NoteMeta; at: number; of: number; reachable: boolean }) {
  const { id } = note;
  const open = route.value.note === id;
  const chosen = selected.value.has(id);
  const words = query.value.words;
  const trouble = stateWords[note.state];
  return (
    <li
      class="row"
      style={{ transform: `translateY(${at * rowHeight}px)`, "--note-color": note.color ?? "transparent" }}
      aria-setsize={of}
      aria-posinset={at + 1}
    >
      <a
        id={"row-" + id}
        href={"/n/" + id}
        tabIndex={reachable ? 0 : -1}
        aria-current={open ? "true" : undefined}
        onFocus={() => (cursor.value = id)}
        onClick={(e) => {
          if (e.ctrlKey || e.metaKey || e.shiftKey || e.button !== 0) return;
          e.preventDefault();
          go({ note: id });
        }}
      >
        <span class="row-title" dir="auto">
          {note.isPinned && <Icon name="pin" />}
          {note.isFavorite && <Icon name="favorite" />}
          {(note.isPinned || note.isFavorite) && (
            <span class="hidden">{[note.isFavorite && "favourite", note.isPinned && "pinned"].filter(Boolean).join(", ")}: </span>
          )}
          <Marked text={note.title || "Untitled"} words={words} />
        </span>
        <span class="row-text" dir="auto">
          <Marked text={note.excerpt ?? ""} words={words} />
        </span>
        <span class="row-about">
          <time dateTime={note.updatedAt}>{day(note.updatedAt)}</time>
          {trouble && <span class="trouble"> {trouble}</span>}
          {note.tags.map((t) => (
            <span class="row-tag"> #{t}</span>
          ))}
        </span>
      </a>
      <input
        type="checkbox"
        class="row-check"
        checked={chosen}
        tabIndex={reachable ? 0 : -1}
        aria-label={`Select ${note.title || "Untitled"}`}
        onChange={() => toggleSelected(id)}
      />
    </li>
  );
}

export function toggleSelected(id: string): void {
  const next = new Set(selected.value);
  if (!next.delete(id)) next.add(id);
  selected.value = next;
}

/** A text with the matches of a search marked. */
export function Marked({ text, words }: { text: string; words: readonly string[] }) {
  const hits = matches(text, words);
  if (hits.length === 0) return <>{text}</>;
  let at = 0;
  return (
    <>
      {hits.map(([from, to]) => {
        const before = text.slice(at, from);
        at = to;
        return (
          <>
            {before}
            <mark>{text.slice(from, to)}</mark>
          </>
        );
      })}
      {text.slice(at)}
    </>
  );
}

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const sameYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const otherYear = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** The time of today, or another day. */
function day(iso: string): string {
  const d = new Date(iso);
  if (Number.isNaN(d.getTime())) return "";
  const now = new Date();
  if (d.toDateString() === now.toDateString()) return time.format(d);
  return (d.getFullYear() === now.getFullYear() ? sameYear : otherYear).format(d);
}

/** What a person should know of the connection and the storage. */
function Connection() {
  const { connection, storage, unsent, catchingUp } = syncState.value;
  const waiting = unsent > 0 ? ` ${unsent} ${unsent === 1 ? "note waits" : "notes wait"} to be sent.` : "";
  let text = "";
  if (storage === "full") text = "Not kept on this device, whose storage is full: leave this tab open until all is saved.";
  else if (storage === "memory") text = "Not kept on this device (a private window?): leave this tab open until all is saved.";
  else if (connection === "offline") text = "Offline. What you write is kept here." + waiting;
  else if (connection === "busy") text = "The server is busy." + waiting;
  else if (catchingUp !== null && catchingUp > 0) text = `Fetching the notes: ${catchingUp} so far`;
  return (
    <p class={text === "" ? "connection hidden" : "connection"} role="status">
      {text}
    </p>
  );
}
