/** One note: reading, writing, its tags and flags, and what became of what was typed. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { go, metaOf, preferences, query, removeForGood, setColor, sync, syncState, tags, tell, toggle, trash } from "./app.ts";
import { colors } from "./colors.tsx";
import { noteRequest } from "./commands.tsx";
import { hasLongLine, plainEditor, type Editor, type EditorOptions } from "./editor.ts";
import { Icon, IconButton } from "./icons.tsx";
import { Later } from "./later.tsx";
import { useObservable } from "./observe.ts";
import type { Fields, NoteView, SaveState } from "./sync/types.ts";

export function NotePane({ id }: { id: string }) {
  const view = useObservable(() => sync.open(id), [id]);
  if (view === null) return <Empty text="Fetching the note…" />;
  if (view === "missing") return <Empty text="There is no such note." />;
  if (view === "away") return <Empty text="This note is not kept here, and the server can't be reached." />;
  return <Note key={id} view={view} />;
}

function Empty({ text }: { text: string }) {
  return (
    <div class="note">
      <div class="bar">
        <Back />
      </div>
      <p class="nothing" role="status">
        {text}
      </p>
    </div>
  );
}

function Back() {
  return (
    <span class="back">
      <IconButton icon="back" label="Back to the list" onClick={() => go({ note: null })} />
    </span>
  );
}

type Side = "none" | "preview" | "history";

function Note({ view }: { view: NoteView }) {
  const { id, fields } = view;
  /** The view that title and text on the screen are derived from. */
  const seen = useRef(view);
  const title = useRef<HTMLInputElement>(null);
  const titleComposes = useRef(false);
  const editor = useRef<Editor | null>(null);
  const latest = useRef(view);
  latest.current = view;
  const [side, setSide] = useState<Side>("none");
  const [tagging, setTagging] = useState(false);

  const draft = (change: Partial<Fields>) => void sync.draft(seen.current, change);
  const show = () => {
    if (titleComposes.current || editor.current?.isComposing()) return; // again at its end
    const now = latest.current;
    if (title.current && title.current.value !== now.fields.title) title.current.value = now.fields.title;
    editor.current?.show(now.fields.content);
    seen.current = now;
  };
  useLayoutEffect(show, [view]);
  /** Changes the text from beside the editor. */
  const change = (content: string) => {
    show();
    editor.current?.show(content);
    draft({ content });
  };

  useEffect(() => {
    const asked = noteRequest.value;
    if (asked === null) return;
    noteRequest.value = null;
    if (asked === "edit") editor.current?.focus();
    else if (asked === "tags") setTagging(true);
    else setSide((s) => (s === asked ? "none" : asked));
  }, [noteRequest.value]);

  const name = fields.title || firstWords(fields.content) || "Untitled";
  useEffect(() => {
    document.title = name + " – notesd";
    return () => {
      document.title = "notesd";
    };
  }, [name]);

  return (
    <article class="note" aria-label={fields.title || "Note"} style={{ "--note-color": fields.color ?? "transparent" }}>
      <div class="bar">
        <Back />
        <State view={view} />
        <span class="actions" role="toolbar" aria-label="Note">
          <IconButton icon="pin" label="Pin" keys="p" pressed={fields.isPinned} onClick={() => void toggle("isPinned", [id])} />
          <IconButton icon="favorite" label="Favourite" keys="f" pressed={fields.isFavorite} onClick={() => void toggle("isFavorite", [id])} />
          <IconButton icon="archive" label="Archive" keys="a" pressed={fields.isArchived} onClick={() => void toggle("isArchived", [id])} />
          <Color value={fields.color} id={id} />
          <IconButton icon="eye" label="Preview" keys="v" pressed={side === "preview"} onClick={() => setSide(side === "preview" ? "none" : "preview")} />
          {view.revision !== null && (
            <IconButton icon="history" label="History" keys="h" pressed={side === "history"} onClick={() => setSide(side === "history" ? "none" : "history")} />
          )}
          {fields.isTrashed && <IconButton icon="close" label="Delete for good" onClick={() => void removeForGood([id])} />}
          <IconButton
            icon={fields.isTrashed ? "restore" : "trash"}
            label={fields.isTrashed ? "Take out of the trash" : "Move to the trash"}
            keys="#"
            onClick={() => void trash([id])}
          />
        </span>
      </div>
      {fields.isTrashed && <p class="banner">This note is in the trash. An edit takes it out.</p>}
      <UnkeptBanner />
      {view.problem && <ProblemBanner view={view} />}
      {view.clash && <Later load={() => import("./clash.tsx").then((m) => m.ClashView)} props={{ view }} />}
      <input
        ref={title}
        class="title"
        aria-label="Title"
        placeholder="Title"
        dir="auto"
        maxLength={255}
        defaultValue={fields.title}
        onInput={(e) => draft({ title: e.currentTarget.value })}
        onCompositionStart={() => (titleComposes.current = true)}
        onCompositionEnd={() => {
          titleComposes.current = false;
          show();
        }}
        onKeyDown={(e) => {
          if (e.key === "Enter" && !e.isComposing) {
            e.preventDefault();
            editor.current?.focus();
          }
        }}
      />
      <TagRow view={view} open={tagging} setOpen={setTagging} />
      <div class={side === "none" ? "panes" : "panes split"}>
        <TextArea view={view} hold={editor} typed={(content) => draft({ content })} composed={show} isNew={fields.title === "" && fields.content === ""} title={title} />
        {side === "preview" && <Later load={() => import("./preview.tsx").then((m) => m.Preview)} props={{ text: fields.content, change }} />}
        {side === "history" && <Later load={() => import("./history.tsx").then((m) => m.History)} props={{ view }} />}
      </div>
    </article>
  );
}

/** What holds the editor on the screen. */
let shown: { current: Editor | null } = { current: null };
let typingGoesOn: { id: string; at: [number, number] } | null = null;

/** Shows a note under its new id; who is typing in it types on. */
export function followNote(id: string): void {
  if (shown.current?.hasFocus()) typingGoesOn = { id, at: shown.current.selection() };
  go({ note: id }, "replace");
}

/** The rich editor, once it is loaded. */
let loaded: typeof import("./rich.ts") | null = null;

/** The text. It begins as a plain editor, and becomes the rich one when that is loaded. */
function TextArea(props: {
  view: NoteView;
  hold: { current: Editor | null };
  typed: (text: string) => void;
  composed: () => void;
  isNew: boolean;
  title: { current: HTMLInputElement | null };
}) {
  const parent = useRef<HTMLDivElement>(null);
  const { hold } = props;
  const words = query.value.words;
  useLayoutEffect(() => {
    let current = props.view.fields.content;
    const options: EditorOptions = {
      parent: parent.current!,
      text: current,
      label: "Text of the note",
      typed: (text) => {
        current = text;
        props.typed(text);
      },
      composed: () => {
        swap();
        props.composed();
      },
    };
    let ended = false;
    const wantsRich = preferences.value.editor === "rich" && !hasLongLine(current);
    const swap = () => {
      const plain = hold.current;
      if (!waits || !loaded || ended || !plain || plain.isComposing()) return;
      const [focused, [from, to]] = [plain.hasFocus(), plain.selection()];
      plain.destroy();
      waits = false;
      hold.current = loaded.richEditor({ ...options, text: current });
      // The textarea counts CR LF as one; what is there is rare, and the cursor is near.
      hold.current.select(Math.min(from, current.length), Math.min(to, current.length));
      hold.current.mark(query.value.words);
      if (focused) hold.current.focus();
    };
    let waits = wantsRich && loaded === null;
    if (wantsRich && loaded) {
      hold.current = loaded.richEditor(options);
      hold.current.mark(query.value.words);
    } else {
      const plain = plainEditor(options);
      hold.current = {
        ...plain,
        show: (text) => {
          current = text; // what others change is part of the text as well
          plain.show(text);
        },
      };
    }
    if (waits) {
      import("./rich.ts").then(
        (module) => {
          loaded = module;
          swap();
        },
        () => undefined, // the plain editor stays
      );
    }
    if (props.isNew) props.title.current?.focus();
    if (typingGoesOn?.id === props.view.id) {
      hold.current.focus();
      hold.current.select(...typingGoesOn.at);
      typingGoesOn = null;
    }
    shown = hold;
    return () => {
      ended = true;
      hold.current?.destroy();
      hold.current = null;
    };
  }, []);
  useEffect(() => hold.current?.mark(words), [words.join(" ")]);
  return <div class="text" ref={parent} />;
}

const stateWords: Record<SaveState, string> = {
  saved: "Saved",
  saving: "Saving…",
  offline: "Offline: kept on this device",
  clash: "Clash: others changed the same lines",
  refused: "Not saved: the server does not take it",
  unkept: "Not kept on this device: leave this tab open",
};

/** What became of what was typed, in words. Screen readers hear of it when it lasts. */
function State({ view }: { view: NoteView }) {
  const text = view.revision === null && view.state === "saved" ? "" : stateWords[view.state];
  const [said, say] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => say(text), 800);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <>
      <span class={"state " + view.state} aria-hidden="true">
        {text}
      </span>
      <span class="hidden" role="status">
        {said}
      </span>
    </>
  );
}

/** Says that the browser keeps nothing, where a note is seen without the list. */
function UnkeptBanner() {
  const { storage } = syncState.value;
  if (storage === "kept") return null;
  return (
    <p class="banner" role="status">
      Not kept on this device: {storage === "full" ? "its storage is full" : "this browser keeps nothing"}. What you write goes to the server at once.
      Leave this tab open until it is saved.
    </p>
  );
}

function ProblemBanner({ view }: { view: NoteView }) {
  const problem = view.problem!;
  const fields = Object.entries(problem.fields).map(([name, text]) => `${name}: ${text}`);
  return (
    <p class="banner" role="alert">
      The server does not take this note: {[problem.message, ...fields].join("; ")}. {syncState.value.storage === "kept" && "It is kept here."}
      <button type="button" onClick={() => sync.retry()}>
        Try again
      </button>
    </p>
  );
}

function Color({ value, id }: { value: string | null; id: string }) {
  const known = colors.some(([, c]) => c === value);
  return (
    <span class="color">
      <Icon name="color" />
      <select aria-label="Colour" title="Colour" value={value ?? ""} onChange={(e) => void setColor(e.currentTarget.value || null, [id])}>
        {colors.map(([name, c]) => (
          <option value={c ?? ""}>{name}</option>
        ))}
        {!known && <option value={value!}>{value}</option>}
      </select>
    </span>
  );
}

/** The tags of a note, and a box to add one with completion. */
function TagRow({ view, open, setOpen }: { view: NoteView; open: boolean; setOpen: (open: boolean) => void }) {
  const box = useRef<HTMLInputElement>(null);
  const own = metaOf(view.id)?.tags ?? view.fields.tags;
  const set = (list: readonly string[]) => void sync.change([view.id], { tags: list });
  useEffect(() => {
    if (open) box.current?.focus();
  }, [open]);
  const add = (text: string) => {
    const added = text.split(",").map((t) => t.trim().replace(/^#/, "")).filter((t) => t !== "" && !own.includes(t));
    if (added.some((t) => [...t].length > 64) || own.length + added.length > 50) {
      tell("A note has up to 50 tags of up to 64 characters");
      return;
    }
    if (added.length > 0) set([...own, ...added]);
    if (box.current) box.current.value = "";
  };
  return (
    <div class="note-tags" role="group" aria-label="Tags">
      {own.map((tag) => (
        <span class="tag">
          #{tag}
          <button type="button" aria-label={`Remove the tag ${tag}`} onClick={() => set(own.filter((t) => t !== tag))}>
            ×
          </button>
        </span>
      ))}
      <input
        ref={box}
        class="tag-box"
        aria-label="Add a tag"
        placeholder="+ tag"
        list="all-tags"
        autocomplete="off"
        onKeyDown={(e) => {
          if (e.key === "Enter" || e.key === ",") {
            e.preventDefault();
            add(e.currentTarget.value);
          } else if (e.key === "Backspace" && e.currentTarget.value === "" && own.length > 0) set(own.slice(0, -1));
        }}
        onBlur={(e) => {
          add(e.currentTarget.value);
          setOpen(false);
        }}
      />
      <datalist id="all-tags">
        {tags.value.filter(([t]) => !own.includes(t)).slice(0, 500).map(([t]) => (
          <option value={t} />
        ))}
      </datalist>
    </div>
  );
}

function firstWords(text: string): string {
  return text.slice(0, 200).trim().slice(0, 60).split("\n")[0]!;
}
