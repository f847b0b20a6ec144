// The status page. Once a second it asks for /api/runtime and /api/metrics and
// writes what it gets into the tables; the server's words only ever become text,
// never HTML. Nothing is asked for while nobody can see the page.

const everyMs = 1000
const patienceMs = 5000 // for an answer
const tokenKey = "notesd-admin-token"

const byId = id => document.getElementById(id)

let paused = false
let timer = 0
let lastSeen = null // when the server last answered

// ---- Asking

class Refused extends Error {}

async function ask(path) {
  const token = sessionStorage.getItem(tokenKey)
  const answer = await fetch(path, {
    headers: token ? { Authorization: "Bearer " + token } : {},
    credentials: "omit", cache: "no-store", redirect: "error", signal: AbortSignal.timeout(patienceMs),
  })
  if (answer.status === 401) throw new Refused("That is not the token.")
  if (answer.status === 429) throw new Refused("Too many wrong tokens came from your network. Try again in a minute.")
  if (!answer.ok) throw new Error("status " + answer.status)
  return answer.json()
}

// poll asks once, shows what comes, and has itself called again.
async function poll() {
  clearTimeout(timer)
  if (document.hidden || paused) return
  try {
    const [state, metrics] = await Promise.all([ask("/api/runtime?minute=true"), ask("/api/metrics")])
    lastSeen = new Date()
    show(state, metrics)
  } catch (err) {
    if (err instanceof Refused) return askForToken(err.message)
    const since = lastSeen ? " since " + clock(lastSeen) : ""
    say("No contact with the server" + since + ". Trying again.", false)
  }
  clearTimeout(timer)
  timer = setTimeout(poll, everyMs)
}

// ---- The token

// takeFromLink keeps the token of a link /status#token=TOKEN and removes it from the address bar and the history.
function takeFromLink() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token")
  if (!token) return false
  sessionStorage.setItem(tokenKey, token)
  history.replaceState(null, "", location.pathname + location.search)
  return true
}

// A link that is opened while the page is there changes the hash and loads nothing.
addEventListener("hashchange", () => takeFromLink() && begin())

function askForToken(message) {
  sessionStorage.removeItem(tokenKey)
  byId("figures").hidden = byId("buttons").hidden = true
  byId("sign-in").hidden = false
  byId("process").textContent = byId("verdict").textContent = ""
  byId("verdict").className = "verdict"
  byId("verdict").hidden = true
  byId("refused").textContent = message
  byId("token").value = ""
  byId("token").focus()
}

byId("sign-in").addEventListener("submit", event => {
  event.preventDefault()
  sessionStorage.setItem(tokenKey, byId("token").value.trim())
  byId("token").value = ""
  begin()
})

byId("forget").addEventListener("click", () => {
  clearTimeout(timer)
  askForToken("")
})

byId("pause").addEventListener("click", () => {
  paused = !paused
  byId("pause").setAttribute("aria-pressed", String(paused))
  if (paused) say("Paused.", null)
  poll()
})

document.addEventListener("visibilitychange", poll)

function begin() {
  if (!sessionStorage.getItem(tokenKey)) return askForToken("")
  byId("sign-in").hidden = true
  byId("verdict").hidden = false
  poll()
}

// ---- Words

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 })
const count = n => number.format(n)
const ms = n => n >= 10000 ? count(n / 1000) + " s" : count(n) + " ms"
const clock = time => new Date(time).toLocaleTimeString("en-GB")
const percent = (part, of) => of > 0 ? count(100 * part / of) + " %" : "–"

function bytes(n) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]]) {
    if (n >= size) return count(n / size) + " " + unit
  }
  return count(n) + " B"
}

function span(seconds) {
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * size) return Math.floor(seconds / size) + " " + unit
  }
  return seconds >= 2 ? Math.floor(seconds) + " s" : Math.max(0, Math.round(seconds * 1000)) + " ms"
}

// say puts the verdict, which is read aloud when it changes and not once a second.
function say(text, well) {
  const verdict = byId("verdict")
  if (verdict.textContent === text) return
  verdict.textContent = text
  verdict.className = "verdict" + (well === null ? "" : well ? " good" : " bad")
}

// ---- Building

function element(name, text, className) {
  const e = document.createElement(name)
  if (text !== undefined) e.textContent = text
  if (className) e.className = className
  return e
}

// fill writes rows into a table's body. A cell is text, or [text, class]; the first heads its row.
function fill(id, rows, none) {
  const table = byId(id)
  table.tBodies[0].replaceChildren(...rows.map(cells => {
    const row = element("tr")
    cells.forEach((cell, i) => {
      const [text, className] = Array.isArray(cell) ? cell : [cell]
      const e = element(i ? "td" : "th", String(text), className)
      if (!i) e.scope = "row"
      row.append(e)
    })
    return row
  }))
  if (rows.length) return
  const row = element("tr"), cell = element("td", none)
  cell.colSpan = table.tHead.rows[0].cells.length
  row.append(cell)
  table.tBodies[0].append(row)
}

// ---- Charts

const svgName = "http://www.w3.org/2000/svg"
const width = 600, height = 100

function svg(name, attributes) {
  const e = document.createElementNS(svgName, name)
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value)
  return e
}

// A chart is one or two lines over the last minute, with the same as a table.
class Chart {
  constructor(title, unit, lines) {
    this.unit = unit
    this.lines = lines // [name, sample => value]
    this.figure = element("figure")
    this.text = element("p")
    this.svg = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" })
    this.svg.append(svg("path", { class: "axis", d: `M0 0H${width}M0 ${height / 2}H${width}M0 ${height}H${width}`, "vector-effect": "non-scaling-stroke" }))
    this.paths = lines.map((_, i) => svg("polyline", { class: "series " + (i ? "two" : "one") }))
    this.svg.append(...this.paths)
    this.details = element("details")
    this.table = element("table")
    this.table.createTHead()
    this.table.createTBody()
    const head = this.table.tHead.insertRow()
    for (const text of ["Time", ...lines.map(([name]) => name)]) {
      const cell = element("th", text)
      cell.scope = "col"
      head.append(cell)
    }
    const caption = this.table.createCaption()
    caption.textContent = title + ", each tenth second"
    const summary = element("summary", "As a table")
    summary.setAttribute("aria-label", title + " as a table")
    this.details.append(summary, this.table)
    this.details.addEventListener("toggle", () => this.tabulate())
    this.figure.append(element("figcaption", title), this.text, this.svg, this.details)
    byId("charts").append(this.figure)
  }

  show(samples) {
    this.samples = samples
    const values = this.lines.map(([, of]) => samples.map(of))
    const most = Math.max(...values.flat(), 0)
    const step = width / 59, first = 60 - samples.length
    values.forEach((line, i) => {
      this.paths[i].setAttribute("points", line.map((v, at) =>
        `${((first + at) * step).toFixed(1)},${(height - (most ? v / most : 0) * height).toFixed(1)}`).join(" "))
    })
    this.text.replaceChildren(...this.lines.flatMap(([name], i) => {
      const line = values[i]
      const key = element("span", (i ? "╍ " : "━ ") + name, "key " + (i ? "two" : "one"))
      const highest = Math.max(...line, 0)
      return [i ? "; " : "", key, ` ${this.unit(line.at(-1) ?? 0)}, at most ${this.unit(highest)}`]
    }))
    this.tabulate()
  }

  tabulate() {
    if (!this.details.open || !this.samples) return
    this.table.tBodies[0].replaceChildren(...this.samples.filter((_, i) => (this.samples.length - 1 - i) % 10 === 0).map(s => {
      const row = element("tr"), time = element("th", clock(s.time))
      time.scope = "row"
      row.append(time, ...this.lines.map(([, of]) => element("td", this.unit(of(s)))))
      return row
    }))
  }
}

const sum = object => Object.values(object || {}).reduce((a, b) => a + b, 0)

const charts = [
  new Chart("Requests a second", count, [["done", s => s.done], ["turned away", s => sum(s.refused)]]),
  new Chart("Latency", ms, [["p50", s => s.p50Ms], ["p99", s => s.p99Ms]]),
  new Chart("Workers and queue", count, [["busy", s => s.busy], ["queued", s => s.queued]]),
  new Chart("Memory", bytes, [["RSS", s => s.rss], ["needed", s => s.inUse]]),
]

// ---- Showing

function show(state, metrics) {
  const { pool } = state
  byId("figures").hidden = byId("buttons").hidden = false
  const began = new Date(state.started), now = new Date(state.timestamp)
  byId("process").textContent = `${state.version}, up ${span((now - began) / 1000)}, seen ${clock(now)}`
  showVerdict(state)
  showMinute(state.minute)
  fill("checks", state.checks.map(row => [row.name, [row.status, row.status === "up" ? "good" : "bad"],
    row.latencyMs === undefined ? "" : ms(row.latencyMs), row.detail || ""]))
  showPool(pool, now)
  fill("classes", pool.classes.map(c => [c.class, c.limit ? `${c.busy} of ${c.limit}` : c.busy, c.share, c.queued,
    c.overloaded ? ["overloaded", "bad"] : ["well", "good"], count(sum(c.refused))]))
  showSheds(pool.sheds)
  showFailures(pool)
  showMemory(state)
  showStores(state)
  byId("answers").textContent = `${count(metrics.totalRequests)} answers in ${ms(metrics.avgDuration)} on average: p50 ${ms(metrics.percentiles.p50)}, ` +
    `p95 ${ms(metrics.percentiles.p95)}, p99 ${ms(metrics.percentiles.p99)}, at most ${ms(metrics.maxDuration)}.`
  fill("statuses", Object.entries(metrics.statusCodes).map(([status, n]) => [status, count(n)]), "None yet")
  showEvents(state)
}

// troubles are sentences that stay the same as long as the trouble does.
function troubles(state) {
  const found = state.checks.filter(row => row.status !== "up" && row.name !== "pool" && row.name !== "memory")
    .map(row => `${row.name} ${row.status}`)
  const { pool, memoryStages } = state
  if (state.channel && !state.channel.listening) found.push("the channel to other replicas is lost")
  if (pool.draining) found.push("shutting down")
  const quarantined = pool.quarantine.filter(q => q.quarantined)
  if (quarantined.length) found.push("in quarantine: " + quarantined.map(q => q.route).join(", "))
  if (pool.stuck.turns.length) found.push("workers are stuck")
  if (memoryStages && memoryStages.stage !== "calm") found.push("memory is " + memoryStages.stage)
  else if (state.memoryMonitor && state.memoryMonitor.above) found.push("memory is above the threshold")
  if (state.minute && state.minute.slice(-5).some(s => s.shed)) found.push("turning requests away")
  const overloaded = pool.classes.filter(c => c.overloaded).map(c => c.class)
  if (overloaded.length) found.push("overloaded: " + overloaded.join(", "))
  return found
}

function showVerdict(state) {
  const found = troubles(state)
  say((state.ready ? "Ready" : "Not ready") + (found.length ? ": " + found.join("; ") + "." : ". All is well."), state.ready && !found.length)
}

function showMinute(samples) {
  byId("no-minute").hidden = Boolean(samples)
  byId("charts").hidden = !samples
  if (samples) charts.forEach(chart => chart.show(samples))
}

function showPool(pool, now) {
  byId("pool").textContent = `${pool.busy} of ${pool.workers} workers busy, ${pool.queued} of at most ${pool.queueLength} requests queued, ` +
    `${pool.outside} waiting for their client, ${pool.held} refusals held back.`
  fill("shards", pool.shards.map(s => ["Shard " + s.id, `${s.busy} of ${s.workers.length}`, count(s.done), ms(s.wait.p99Ms), ms(s.service.p50Ms),
    ms(s.service.p99Ms), bytes(s.bytesInFlight), count(s.restarts)]))
  byId("workers").replaceChildren(...pool.shards.flatMap(shard => {
    const list = element("ul", undefined, "workers")
    list.setAttribute("aria-label", "Workers of shard " + shard.id)
    list.append(...shard.workers.map(w => {
      const since = w.since ? " for " + span((now - new Date(w.since)) / 1000) : ""
      return element("li", `${w.id} ${w.state}${w.route ? " with " + w.route : ""}${since}`, w.state)
    }))
    return [element("h3", "Shard " + shard.id), list]
  }))
}

function showSheds(sheds) {
  const last = sheds.minutes.at(-1)
  const current = last && Date.now() - new Date(last.begins) < 60000 ? last.shed : {}
  const quarter = {}
  for (const { shed } of sheds.minutes) for (const [reason, n] of Object.entries(shed)) quarter[reason] = (quarter[reason] || 0) + n
  fill("sheds", Object.entries(sheds.total).filter(([, n]) => n).map(([reason, n]) =>
    [reason, count(current[reason] || 0), count(quarter[reason] || 0), count(n)]), "Nobody")
  fill("people", sheds.people.slice(0, 10).map(p => [p.person, p.reason, count(p.count)]), "Nobody")
}

function showFailures(pool) {
  fill("failures", [
    ...pool.quarantine.filter(q => q.quarantined).map(q => [["route in quarantine", "bad"], q.route, count(q.panics),
      q.nextTrial ? "next trial " + clock(q.nextTrial) : ""]),
    ...pool.stuck.turns.map(t => [["stuck worker " + t.worker, "bad"], t.route, t.replacement ? "replaced by " + t.replacement : "not replaced", "since " + clock(t.since)]),
    ...pool.panicKinds.map(k => ["panic", `${k.route}, ${k.frame}`, count(k.count), clock(k.last)]),
  ], `None now. Since the start: ${pool.panics} panics, ${pool.restarts} workers replaced, ${pool.quarantined} quarantines, ${pool.stuck.found} stuck.`)
}

function showMemory({ memory, memoryMonitor, memoryStages, limits, disk }) {
  const pairs = [["RSS", bytes(memory.rss)], ["Heap in use", bytes(memory.heapUsed)], ["Heap limit", memory.limit ? bytes(memory.limit) : "none"],
    ["Container's limit", limits.containerMemory ? bytes(limits.containerMemory) : "none"], ["Collector's share of CPU", percent(memory.gcShare, 1)],
    ["Goroutines", count(memory.goroutines)], ["Cores in use", count(limits.gomaxprocs)]]
  if (memoryStages && memoryStages.limit) {
    pairs.push(["Stage", memoryStages.stage], ["Needed, of the limit", `${bytes(memoryStages.needed)}, ${percent(memoryStages.needed, memoryStages.limit)}`])
  }
  if (memoryMonitor) pairs.push(["Threshold for alerts", memoryMonitor.threshold ? bytes(memoryMonitor.threshold) : "none"], ["Times above it", count(memoryMonitor.crossings)])
  if (disk) pairs.push(["Disk, free", `${bytes(disk.free)}, ${percent(disk.free, disk.total)}`])
  byId("memory").replaceChildren(...pairs.map(([name, value]) => {
    const pair = element("div")
    pair.append(element("dt", name), element("dd", value))
    return pair
  }))
}

function showStores({ database, redis, cache, channel, streams, stored }) {
  const rows = Object.entries(database).map(([name, c]) => ["database, " + name, c.inUse, c.open, c.most || "any", count(c.waitCount)])
  if (redis) rows.push(["Redis", redis.inUse, redis.open, "", `${count(redis.failures)} failures`])
  fill("conns", rows)
  fill("cache", Object.entries(cache.kinds).map(([kind, k]) => [kind, count(k.hits), count(k.misses), count(k.shared), percent(k.hits, k.hits + k.misses)]), "Nothing yet")
  byId("cache-note").textContent = `${count(cache.entries)} copies in ${bytes(cache.bytes)} of ${bytes(cache.limit)}, ${count(cache.evicted)} made room; ` +
    (cache.trusted ? "in use." : "not in use: what other processes change may not be heard of.") +
    (channel ? ` Channel to other replicas: ${channel.listening ? "listening" : "lost"}, ${channel.peers} there.` : "") +
    ` Streams of events: ${count(streams.open)} of ${streams.most ? count(streams.most) : "any number"}, ${count(streams.sent)} events sent, ${count(streams.dropped)} dropped.` +
    (stored ? ` Stored: ${count(stored.notes)} notes in ${bytes(stored.noteBytes)}, their history in ${bytes(stored.historyBytes)}.` : "")
}

function showEvents({ events, incidents }) {
  fill("events", events.map(e => [clock(e.time), e.kind, e.subject, Object.entries(e.detail || {}).map(([k, v]) => `${k}: ${v}`).join(", ")]), "None since the start")
  byId("incidents").textContent = !incidents ? "No incident files are kept." : !incidents.files.length ? "No incident files." :
    `${incidents.files.length} incident files in DATA_DIR/incidents, the newest ${incidents.files[0].file}.`
}

takeFromLink()
begin()
