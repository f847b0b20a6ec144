import { render } from "preact";
import { useEffect } from "preact/hooks";
import { isOpen, metaOf, newNote, route, sync, syncState, tell, toast } from "./app.ts";
import { Help, helpIsOpen, listenToKeys, Palette, paletteIsOpen } from "./commands.tsx";
import { Icon } from "./icons.tsx";
import { Later } from "./later.tsx";
import { Sidebar } from "./list.tsx";
import { followNote, NotePane } from "./note.tsx";
import { SignIn } from "./signin.tsx";
import { registerWorker } from "./sync/worker.ts";

function App() {
  const { session, account, connection } = syncState.value;
  if (!account && session === "unknown" && connection !== "offline") return <p class="nothing">Loading…</p>;
  if (!account || session === "ended") {
    return (
      <main>
        <SignIn />
      </main>
    );
  }
  const { note, page } = route.value;
  return (
    <>
      <main class={note ? "app open" : "app"}>
        {page !== "account" && <h1 class="hidden">{metaOf(note)?.title || "Notes"}</h1>}
        {page === "account" ? (
          <Later load={() => import("./account.tsx").then((m) => m.AccountPage)} props={{}} />
        ) : (
          <>
            <Sidebar />
            <div class="main">
              {note ? <NotePane key={note} id={note} /> : <Welcome />}
            </div>
          </>
        )}
      </main>
      <Toast />
      {helpIsOpen.value && <Help />}
      {paletteIsOpen.value && <Palette />}
    </>
  );
}

function Welcome() {
  return (
    <div class="nothing">
      <p>Choose a note, or write a new one.</p>
      <button type="button" class="primary" onClick={() => newNote()}>
        <Icon name="add" /> New note
      </button>
      <p class="hint">
        <kbd>c</kbd> new <kbd>/</kbd> search <kbd>?</kbd> all keys
      </p>
    </div>
  );
}

function Toast() {
  const now = toast.value;
  useEffect(() => {
    if (!now) return;
    const timer = setTimeout(() => (toast.value = null), 8000);
    return () => clearTimeout(timer);
  }, [now]);
  return (
    <div class="toast" role="status">
      {now && (
        <p>
          {now.text}
          {now.undo && (
            <button type="button" onClick={() => now.undo!()}>
              Undo
            </button>
          )}
        </p>
      )}
    </div>
  );
}

sync.onNotice((notice) => {
  switch (notice.kind) {
    case "keptAsNew":
      if (route.value.note === notice.id) followNote(notice.newId);
      tell(`“${notice.title}” is gone elsewhere. What you wrote is kept as a new note.`);
      break;
    case "broughtBack":
      tell(`“${notice.title}” was in the trash. Your edit took it out.`);
      break;
    case "waiting":
      tell(`${notice.unsent} notes of ${notice.email} wait here until that account signs in.`);
  }
});

/** Opens what the address asks for: a new note, or one with what another app shares. */
function startWithAddress(): void {
  const asked = new URLSearchParams(location.search);
  if (![...asked.keys()].some((k) => ["new", "title", "text", "url"].includes(k))) return;
  const stop = syncState.subscribe(({ account }) => {
    if (!account) return;
    queueMicrotask(() => stop());
    const content = [asked.get("text"), asked.get("url")].filter(Boolean).join("\n\n");
    newNote({ title: (asked.get("title") ?? "").slice(0, 255), content });
  });
}

/** Text files that are dropped on the page become notes. */
function listenToFiles(): void {
  window.addEventListener("dragover", (e) => {
    if (e.dataTransfer?.types.includes("Files")) e.preventDefault();
  });
  window.addEventListener("drop", (e) => {
    const files = [...(e.dataTransfer?.files ?? [])];
    if (files.length === 0 || !isOpen.value) return;
    e.preventDefault();
    void importFiles(files);
  });
}

async function importFiles(files: readonly File[]): Promise<void> {
  const { account } = syncState.value;
  let taken = 0;
  for (const file of files) {
    if (!/\.(md|markdown|txt|text)$/i.test(file.name) && !file.type.startsWith("text/")) continue;
    const content = await file.text();
    if (!isOpen.value || syncState.value.account?.id !== account?.id) break; // another account is here by now
    newNote({ title: file.name.replace(/\.[^.]*$/, "").slice(0, 255), content });
    taken++;
  }
  tell(taken === files.length ? `Imported: ${taken}` : `Imported: ${taken} of ${files.length}. Only text and Markdown become notes.`);
}

listenToKeys();
listenToFiles();
startWithAddress();
window.addEventListener("beforeunload", (e) => {
  if (sync.hasUnkept()) e.preventDefault();
});
render(<App />, document.getElementById("app")!);
void registerWorker();
