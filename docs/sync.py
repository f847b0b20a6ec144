#!/usr/bin/env python3
"""Keeps an account's notes in a folder, one in each ID.txt: the title, then the content from the second line on.

    NOTES_PASSWORD=… sync.py http://localhost:3001 ada@example.com FOLDER

Another NAME.txt is a new note, and a note whose file is removed goes to the trash. Run it as often as you like.
"""
import hashlib, http.cookiejar, json, os, pathlib, re, secrets, sys, time, urllib.error, urllib.request, uuid

server, email, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))

def call(method, path, body={}, **headers):  # until it is answered: whatever is sent may be sent twice
    for pause in (1, 2, 4, 8, 16, 32):
        data = None if method == "GET" else json.dumps(body).encode()
        r = urllib.request.Request(server + path, data, {"Content-Type": "application/json", **headers}, method=method)
        try:
            with browser.open(r, timeout=60) as answer: return answer.status, json.load(answer)
        except urllib.error.HTTPError as e:
            if e.code not in (429, 500, 502, 503, 504): return e.code, json.load(e)
            pause = int(e.headers.get("Retry-After", pause))
        except OSError as e: print(f"{method} {path}: {e}", file=sys.stderr)
        time.sleep(pause)
    sys.exit(f"{method} {path}: no answer")

def path(id): return folder / f"{id}.txt"
def read(id): return path(id).read_bytes().decode()
def fields(text): return dict(zip(("title", "content"), text.partition("\n")[::2]))
def edited(id): return path(id).exists() and (id not in bases or bases[id]["new"] or read(id) != bases[id]["text"])
def new_id():  # a UUIDv7: milliseconds, then bits at random
    ms, random = time.time_ns() // 10**6, secrets.randbits(62)
    return str(uuid.UUID(int=ms << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | random))

def replace(file, text):  # whole or not at all
    (folder / ".part").write_bytes(text.encode())
    os.replace(folder / ".part", file)

def save(): replace(folder / ".sync.json", json.dumps({"since": since, "bases": bases}))

def take(id, note, content):  # the file before its base: an older base merges once more, a newer one would undo
    replace(path(id), note["title"] + "\n" + content)
    bases[id] = {"new": False, "revision": note["revision"], "text": note["title"] + "\n" + note["content"]}
    save()

def forget(id):  # what is edited here becomes a note of its own
    if edited(id): path(id).rename(path(new_id()))
    path(id).unlink(missing_ok=True)
    bases.pop(id, None)
    save()

def pull():
    global since
    number, more, unseen = since, True, set()
    while more:
        status, page = call("GET", f"/api/changes?since={number}&limit=500")
        if status == 410:  # away for too long: all notes come, and what is not among them is gone
            number, unseen = 0, set(bases)
            continue
        for id, note in ((change["id"], change.get("note")) for change in page["data"]):
            unseen.discard(id)
            if note and (edited(id) or id in bases and not path(id).exists()): continue  # send brings both together
            if note and not note["isTrashed"]: take(id, note, note["content"])
            else: forget(id)
        number, more = page["next"], page["more"]
    for id in unseen: forget(id)
    since = number
    save()

def send(id):
    text = read(id)
    base = bases.setdefault(id, {"new": True, "revision": 1, "text": text})
    save()  # what is sent first is the base, whatever becomes of it before the answer is here
    if base["new"]:
        status, answer = call("POST", "/api/notes", {"id": id, **fields(base["text"])})
        if status in (409, 410): return forget(id)  # the id is somebody else's, or the note was deleted for good
        if status not in (200, 201): return print(path(id), answer["error"], answer.get("fields", ""), file=sys.stderr)
        base["new"] = False
        return save()
    body = {**fields(text), "isTrashed": False, "baseRevision": base["revision"],
            "base": {"revision": base["revision"], **fields(base["text"])}}
    key = hashlib.sha256(json.dumps([id, body]).encode()).hexdigest()
    status, answer = call("PATCH", f"/api/notes/{id}", body, **{"Idempotency-Key": key})
    if status in (404, 410): forget(id)
    elif status not in (200, 409): print(path(id), answer["error"], answer.get("fields", ""), file=sys.stderr)
    elif read(id) == text:  # else it was edited meanwhile, and the base stays
        parts = [{"text": answer["data"]["content"]}]
        if status == 409: parts = answer["merge"] or parts
        if status == 409 and answer["merge"] is None: path(id).rename(path(new_id()))  # both stay, in two notes
        take(id, answer["data"], "".join(p["text"] if "text" in p else both(p["theirs"], p["yours"]) for p in parts))

def both(theirs, yours):  # a clash: the lines of both, for people to choose
    lines = theirs.splitlines(True)
    lines += [line for line in yours.splitlines(True) if line not in lines]
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)

folder.mkdir(exist_ok=True)
since, bases, kept = 0, {}, folder / ".sync.json"  # bases: by id, the note as it was when both sides were the same
if kept.exists(): since, bases = json.loads(kept.read_text()).values()
status, answer = call("POST", "/api/auth/login", {"email": email, "password": os.environ["NOTES_PASSWORD"]})
if status != 200: sys.exit(answer["error"])
for turn in range(9):
    pull()
    for file in folder.glob("*.txt"):
        if not re.fullmatch("[0-9a-z]{25}|[0-9a-f]{8}(-[0-9a-f]{4}){4}[0-9a-f]{8}", file.stem):
            file.rename(path(new_id()))
    for id in [id for id in bases if not path(id).exists()]:
        if call("PATCH", f"/api/notes/{id}/trash")[0] in (200, 404): forget(id)
    edits = [file.stem for file in folder.glob("*.txt") if edited(file.stem)]
    for id in edits: send(id)
    if not edits: break
