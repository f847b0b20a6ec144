/** What a note was: a slider over its versions, with what differs from now. */
import { diffLines, diffWordsWithSpace, type Change } from "diff";
import { useEffect, useMemo, useState } from "preact/hooks";
import { request } from "./api.ts";
import { tell } from "./app.ts";
import type { Note, NoteView } from "./sync/types.ts";

interface Version {
  revision: number;
  at: string;
  bytes: number;
  title: string;
  by: { kind: string; name: string } | null;
  lines: { added: number; removed: number } | null;
}

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function History({ view }: { view: NoteView }) {
  const { id } = view;
  const [versions, setVersions] = useState<Version[] | null>(null);
  const [at, setAt] = useState<number | null>(null); // a place in versions
  const [old, setOld] = useState<Note | null>(null);
  const [error, setError] = useState("");
  const report = (err: unknown) => setError(err instanceof Error ? err.message : String(err));

  useEffect(() => {
    request<{ data: Version[] }>("GET", `/api/notes/${id}/versions?limit=500`).then(
      ({ data }) => {
        setVersions([...data].reverse());
        setError("");
      },
      report,
    );
  }, [id, view.revision]);

  const place = versions === null ? 0 : Math.min(at ?? Math.max(0, versions.length - 2), versions.length - 1);
  const version = versions?.[place];
  useEffect(() => {
    if (!version) return;
    const stop = new AbortController();
    const timer = setTimeout(() => {
      request<{ data: Note }>("GET", `/api/notes/${id}/versions/${version.revision}`).then(({ data }) => {
        if (!stop.signal.aborted) setOld(data);
      }, report);
    }, 60);
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [id, version?.revision]);

  const restore = async () => {
    const before = versions!.at(-1)!.revision;
    try {
      await restoreRevision(id, version!.revision);
      setAt(null);
      tell("An old version is the note now", () => restoreRevision(id, before));
    } catch (err) {
      report(err);
    }
  };

  if (error !== "" && !versions) return <Side text={error} />;
  if (!versions) return <Side text="Fetching the history…" />;
  if (versions.length < 2) return <Side text="There is no other version yet." />;
  const said = version ? `${when.format(new Date(version.at))}${version.by ? `, by ${version.by.name}` : ""}` : "";
  const isNow = place === versions.length - 1;
  return (
    <section class="side history" aria-label="History">
      <label class="slider">
        <span>
          Version {place + 1} of {versions.length}: {said}
          {isNow && " (now)"}
        </span>
        <input
          type="range"
          min={0}
          max={versions.length - 1}
          value={place}
          aria-valuetext={said}
          onInput={(e) => setAt(Number(e.currentTarget.value))}
        />
      </label>
      {error !== "" && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      <button type="button" class="primary" disabled={isNow || view.state !== "saved"} onClick={() => void restore()}>
        Bring this version back
      </button>
      {old && old.revision === version?.revision && (
        <>
          {old.title !== view.fields.title && <p class="was-title" dir="auto">Title: {old.title}</p>}
          <Difference from={old.content} to={view.fields.content} />
        </>
      )}
    </section>
  );
}

async function restoreRevision(id: string, revision: number): Promise<void> {
  await request("POST", `/api/notes/${id}/versions/${revision}/restore`);
}

function Side({ text }: { text: string }) {
  return (
    <section class="side history" aria-label="History">
      <p class="nothing" role="status">
        {text}
      </p>
    </section>
  );
}

/** The old text, with what has gone since and what came. */
function Difference({ from, to }: { from: string; to: string }) {
  const changes = useMemo(() => compare(from, to), [from, to]);
  return (
    <div class="difference" dir="auto">
      <p class="legend">
        <del>only then</del> <ins>only now</ins>
      </p>
      <pre>
        {changes.map((c) => (c.removed ? <del>{c.value}</del> : c.added ? <ins>{c.value}</ins> : <span>{c.value}</span>))}
      </pre>
    </div>
  );
}

/** Compares by lines, and a changed line by words. */
function compare(from: string, to: string): Change[] {
  const lines = diffLines(from, to, { timeout: 500 }) ?? [
    { value: from, removed: true, added: false, count: 1 },
    { value: to, removed: false, added: true, count: 1 },
  ];
  return lines.flatMap((c, i) => {
    const next = lines[i + 1];
    if (c.removed && next?.added && c.value.length + next.value.length < 4000) return diffWordsWithSpace(c.value, next.value);
    const before = lines[i - 1];
    if (c.added && before?.removed && c.value.length + before.value.length < 4000) return [];
    return [c];
  });
}
