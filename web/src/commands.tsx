/** What the keyboard does: single letters, and the palette of commands. */
import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import {
  cursor, go, isOpen, newNote, notes, prefer, preferences, removeForGood, route, rows, selected, tags, targets, toggle, trash, undoLast,
} from "./app.ts";
import { Dialog } from "./dialog.tsx";
import { moveBy, toggleSelected } from "./list.tsx";
import { matches, tagQuery } from "./query.ts";

export const helpIsOpen = signal(false);
export const paletteIsOpen = signal(false);
/** Asks the note that is open to do something. */
export const noteRequest = signal<"edit" | "preview" | "history" | "tags" | null>(null);

interface Command {
  name: string;
  key?: string;
  run: () => unknown;
}

function openNote(): void {
  const id = cursor.value ?? rows.value[0]?.id;
  if (id) go({ note: id });
}

export const commands: readonly Command[] = [
  { name: "New note", key: "c", run: () => newNote() },
  { name: "Search", key: "/", run: () => document.getElementById("search")?.focus() },
  { name: "Next note", key: "j", run: () => moveBy(1) },
  { name: "Previous note", key: "k", run: () => moveBy(-1) },
  { name: "Open the note", key: "Enter", run: openNote },
  { name: "Edit the note", key: "e", run: () => edit() },
  { name: "Pin or unpin", key: "p", run: () => toggle("isPinned") },
  { name: "Favourite or not", key: "f", run: () => toggle("isFavorite") },
  { name: "Archive or take out", key: "a", run: () => toggle("isArchived") },
  { name: "Move to the trash or take out", key: "#", run: () => trash() },
  { name: "Delete for good", run: () => removeForGood() },
  { name: "Undo", key: "z", run: undoLast },
  { name: "Select the note", key: "x", run: () => targets().slice(0, 1).forEach(toggleSelected) },
  { name: "Preview", key: "v", run: () => (noteRequest.value = "preview") },
  { name: "History", key: "h", run: () => (noteRequest.value = "history") },
  { name: "Tags", key: "t", run: () => (noteRequest.value = "tags") },
  { name: "Back to the list", key: "Escape", run: () => back() },
  { name: "Keyboard shortcuts", key: "?", run: () => (helpIsOpen.value = true) },
  { name: "Show the notes", run: () => go({ folder: "notes", query: "", note: null }) },
  { name: "Show the archive", run: () => go({ folder: "archive", note: null }) },
  { name: "Show the trash", run: () => go({ folder: "trash", note: null }) },
  { name: "Rename or merge tags", run: () => go({ page: "account", note: null }) },
  { name: "Account and settings", run: () => go({ page: "account", note: null }) },
  { name: "Light theme", run: () => prefer({ theme: "light" }) },
  { name: "Dark theme", run: () => prefer({ theme: "dark" }) },
  { name: "Theme of the system", run: () => prefer({ theme: "system" }) },
];

function edit(): void {
  if (!route.value.note) openNote();
  noteRequest.value = "edit";
}

function back(): void {
  if (selected.value.size > 0) selected.value = new Set();
  else if (route.value.page === "account" || route.value.note) go({ note: null });
}

function isTyping(target: EventTarget | undefined): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.nodeName)) &&
    !(target instanceof HTMLInputElement && target.type === "checkbox");
}

/** Runs the commands of keys. */
export function listenToKeys(): void {
  window.addEventListener("keydown", (e) => {
    if (e.defaultPrevented || e.isComposing || !isOpen.value) return;
    if ((e.ctrlKey || e.metaKey) && !e.shiftKey && !e.altKey && e.key.toLowerCase() === "k") {
      e.preventDefault();
      paletteIsOpen.value = !paletteIsOpen.value;
      return;
    }
    if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector("dialog[open]")) return;
    const target = e.composedPath()[0];
    if (isTyping(target)) {
      // Escape leaves the text for the list; Tab goes on from there.
      if (e.key === "Escape" && target instanceof HTMLElement && !(target instanceof HTMLInputElement && target.value !== "" && target.type === "search")) {
        target.blur();
      }
      return;
    }
    if (e.key !== "Escape" && !preferences.value.shortcuts) return;
    if (e.key === "Enter" && target instanceof HTMLElement && target.closest("a, button, summary, input")) return;
    const down = e.key === "ArrowDown" ? "j" : e.key === "ArrowUp" ? "k" : e.key;
    if (down !== e.key && !(target instanceof HTMLElement && target.closest("#list"))) return;
    const command = commands.find((c) => c.key === down);
    if (!command) return;
    e.preventDefault();
    void command.run();
  });
}

export function Help() {
  return (
    <Dialog title="Keyboard shortcuts" onClose={() => (helpIsOpen.value = false)}>
      <table class="keys">
        <tbody>
          {commands.filter((c) => c.key).map((c) => (
            <tr>
              <th scope="row">
                <kbd>{c.key}</kbd>
              </th>
              <td>{c.name}</td>
            </tr>
          ))}
          <tr>
            <th scope="row">
              <kbd>Ctrl</kbd> or <kbd>⌘</kbd> <kbd>K</kbd>
            </th>
            <td>All commands, tags and notes</td>
          </tr>
          <tr>
            <th scope="row">
              <kbd>Escape</kbd>, <kbd>Tab</kbd>
            </th>
            <td>Leave the text by keyboard</td>
          </tr>
        </tbody>
      </table>
      <label class="check">
        <input
          type="checkbox"
          checked={preferences.value.shortcuts}
          onChange={(e) => prefer({ shortcuts: e.currentTarget.checked })}
        />
        Single letters are shortcuts
      </label>
    </Dialog>
  );
}

/** A list of all that can be done or gone to, narrowed by typing. */
export function Palette() {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const close = () => (paletteIsOpen.value = false);
  const places: Command[] = [
    ...commands,
    ...preferences.value.searches.map((s) => ({ name: "Search " + s, run: () => go({ query: s, note: null }) })),
    ...tags.value.slice(0, 200).map(([t]) => ({ name: "#" + t, run: () => go({ query: tagQuery(t), note: null }) })),
  ];
  const words = text.split(/\s+/).filter(Boolean);
  const fits = (name: string) => words.every((w) => matches(name, [w]).length > 0);
  const found = places.filter((c) => fits(c.name)).slice(0, 12);
  if (words.length > 0) {
    for (const n of notes.value) {
      if (found.length >= 20) break;
      if (!n.isTrashed && fits(n.title)) found.push({ name: n.title, run: () => go({ note: n.id }) });
    }
  }
  const current = Math.min(at, found.length - 1);
  const run = (c: Command | undefined) => {
    if (!c) return;
    close();
    setTimeout(() => void c.run()); // when the dialog has given back the focus
  };
  return (
    <Dialog title="Commands" class="palette" onClose={close}>
      <input
        type="text"
        role="combobox"
        autofocus
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={found.length > 0 ? `palette-${current}` : undefined}
        aria-label="Command, tag or note"
        autocomplete="off"
        value={text}
        onInput={(e) => {
          setText(e.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={(e) => {
          const step = e.key === "ArrowDown" ? 1 : e.key === "ArrowUp" ? -1 : 0;
          if (step !== 0) {
            e.preventDefault();
            setAt((current + step + found.length) % Math.max(1, found.length));
          } else if (e.key === "Enter") {
            e.preventDefault();
            run(found[current]);
          }
        }}
      />
      <ul role="listbox" id="palette-list" aria-label="What fits">
        {found.map((c, i) => (
          <li role="option" id={`palette-${i}`} aria-selected={i === current} onClick={() => run(c)}>
            <span>{c.name}</span>
            {c.key && <kbd>{c.key}</kbd>}
          </li>
        ))}
      </ul>
    </Dialog>
  );
}
