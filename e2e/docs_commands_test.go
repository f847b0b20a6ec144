package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"notesd/store/storetest"
)

// A scene is a fenced block of a document, and how it is played.
type scene struct {
	document, begins string                          // with the first command that is no comment
	play             func(t *testing.T, text string) // nil: another test does
	elsewhere        string                          // that test
}

var scenes = []scene{
	{"README.md", "CGO_ENABLED=0 go run", playGoRun, ""},
	{"README.md", "api=", nil, "TestWalkThrough"},
	{"README.md", "curl -s -c jar -b jar $api/auth/register", nil, "TestWalkThrough"},
	{"README.md", "id=$(curl", nil, "TestWalkThrough"},
	{"README.md", `curl -s -b jar "$api/notes?search`, nil, "TestWalkThrough"},
	{"README.md", "curl -s -b jar -X PATCH $api/notes/$id/trash", nil, "TestWalkThrough"},
	{"README.md", "curl -s -c jar -b jar -X POST $api/auth/logout", nil, "TestWalkThrough"},
	{"README.md", "curl -s $api/runtime", nil, "TestWalkThrough"},
	{"docs/ALERTS.md", "expected=", nil, "TestWebhookExample"},
	{"docs/BACKUP.md", "notesd backup notes.backup", playBackup, ""},
	{"docs/BACKUP.md", "notesd backup drill.backup", nil, "TestRestoreDrill"},
	{"docs/INCIDENTS.md", "unzip", playIncident, ""},
	{"docs/MIGRATING.md", "pg_dump", playMigration, ""},
}

// notRun are commands that no test can run, by how they begin, and why. That
// they name what exists is checked all the same.
var notRun = []struct{ begins, why string }{
	{"make test", "it is what runs this"},
	{"make check ", "CI runs it; it changes nothing and takes minutes"},
	{"GOCACHE=", "compiles everything anew: minutes, for figures"},
	{"jq ", "reads what the line before it writes"},
	{"make check-setup", "needs the production stack: TestComposeProduction"},
	{"make e2e", "runs tests, this one among them"},
	{"make prove", "takes 40 minutes"},
	{"make docker-prod-", "TestComposeProduction and TestRolling bring the stack up, on its ports"},
	{"COMPOSE_PROFILES=monitoring make docker-prod-up", "TestComposeMonitoring"},
	{"docker compose ", "needs the running production stack: TestComposeMonitoring, TestComposeProduction"},
	{"compose=", "that stack's name for the line below it"},
	{"$compose config", "what make check-setup does: TestComposeProduction"},
	{"SITE_ADDRESS=notes.example.com ./quick-start.sh", "needs a name that leads here: TestComposeProduction has localhost"},
	{"sudo install -d", "sudo may ask for a password, and containers are needed"},
	{"git pull", "there is nothing to pull from"},
	{"install -m 0755 notesd", "writes to /usr/local/bin: TestUpgrades does the same elsewhere"},
	{"systemctl ", "no systemd runs here: main.TestUnits, TestSocketActivation"},
	{"echo 'hostssl replication", "likewise"},
	{"pg_basebackup ", "likewise, in this way"},
	{"kubectl ", "no cluster is here: TestKubernetes…"},
}

// documents are those whose commands are tried.
func documents(t *testing.T) (names []string) {
	t.Helper()
	for _, pattern := range []string{"../*.md", "../docs/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return names
}

var fenced = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// Every block of commands is run: by its scene, by another test, or line by line beside a server in development; what
// can't be is in notRun with the reason. Neither table has a row too many.
func TestDocumentsBlocks(t *testing.T) {
	t.Parallel()
	tests := allTests(t)
	played, excused, ran := map[int]bool{}, map[int]bool{}, map[string]bool{}
	for _, name := range documents(t) {
		document := strings.TrimPrefix(name, "../")
		for _, m := range fenced.FindAllStringSubmatch(readFile(t, name), -1) {
			text := m[2]
			if m[1] != "sh" || len(commandLines(text)) == 0 {
				continue
			}
			first := commandLines(text)[0]
			at := slices.IndexFunc(scenes, func(s scene) bool { return s.document == document && strings.HasPrefix(first, s.begins) })
			if at < 0 {
				for _, line := range notExcused(commandLines(text), excused) {
					if !ran[line] { // in one document is enough
						ran[line] = true
						t.Run(document+" "+line, func(t *testing.T) { t.Parallel(); playInDevelopment(t, line) })
					}
				}
				continue
			}
			played[at] = true
			if s := scenes[at]; s.play != nil {
				t.Run(document+" "+s.begins, func(t *testing.T) { t.Parallel(); s.play(t, text) })
			} else if !tests[s.elsewhere] {
				t.Errorf("%s: there is no %s to run %s", document, s.elsewhere, first)
			}
		}
	}
	for i, s := range scenes {
		if !played[i] {
			t.Errorf("%s has no block that begins with %s", s.document, s.begins)
		}
	}
	for i, row := range notRun {
		if !excused[i] {
			t.Errorf("no document has %s: the row is not needed", row.begins)
		}
	}
}

// notExcused are the lines that there is no reason not to run.
func notExcused(lines []string, excused map[int]bool) (left []string) {
	for _, line := range lines {
		at := slices.IndexFunc(notRun, func(row struct{ begins, why string }) bool { return strings.HasPrefix(line+" ", row.begins) })
		if at < 0 {
			left = append(left, line)
		} else {
			excused[at] = true
		}
	}
	return left
}

// commandLines are the commands of a block, each on one line, without comments.
func commandLines(text string) (lines []string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(regexp.MustCompile(`(^|\s{2,})#.*`).ReplaceAllString(strings.TrimRight(line, "\n"), ""))
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// allTests are the tests of the main package and of this one.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, pattern := range []string{"*_test.go", "../*_test.go", "../*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Benchmark)\w+)\(`).FindAllStringSubmatch(readFile(t, file), -1) {
				found[m[1]] = true
			}
		}
	}
	return found
}

// script is bash that runs text in p's directory, with p's settings and with notesd on its PATH.
func (p *process) script(text string, settings ...string) *exec.Cmd {
	cmd := exec.Command("bash", "-euo", "pipefail", "-c", text)
	cmd.Dir = p.dir
	cmd.Env = append(append(p.command().Env, "PATH="+filepath.Dir(unraced(p.t))+":"+os.Getenv("PATH")), settings...)
	return cmd
}

// runs runs text to its end, which must be a good one, and returns what it printed.
func (p *process) runs(text string, settings ...string) string {
	p.t.Helper()
	out, err := p.script(text, settings...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("%s: %v\n%s", text, err, out)
	}
	return string(out)
}

// playGoRun starts from source what the README starts, until it listens.
func playGoRun(t *testing.T, text string) {
	long(t, "it compiles")
	environ := []string{fmt.Sprintf("BACKEND_PORT=%d", freePort(t)), "DATA_DIR=" + t.TempDir()}
	runUntil(t, environ, "listening", "bash", "-c", text)
}

// playInDevelopment runs a line beside a server that has nothing set.
func playInDevelopment(t *testing.T, line string) {
	long(t, "a server for each line of the documents")
	const brief = "-allow-late -set QUEUE_TIMEOUT=30s -d 200ms" // its figures go nowhere, and the machine may be busy
	if out := start(t).runs(strings.Replace(line, "-d 2s", brief, 1)); out == "" {
		t.Error("it printed nothing")
	}
}

// playBackup saves while a server serves, and restores into an empty database.
func playBackup(t *testing.T, text string) {
	p := start(t)
	p.member("ada@example.com").create("kept", "")
	lines := commandLines(text)
	if len(lines) != 3 || !strings.HasPrefix(lines[2], "notesd restore ") {
		t.Fatalf("the last of three commands is to restore: %q", lines)
	}
	p.runs(strings.Join(lines[:2], "\n"))
	if out := p.runs(lines[2]+"\nnotesd user list", "DATABASE_URL=other.db"); !strings.Contains(out, "ada@example.com") {
		t.Errorf("the restored database has\n%s", out)
	}
}

// playIncident unpacks a file that a real process has left, under the name in the document.
func playIncident(t *testing.T, text string) {
	need(t, "unzip")
	p := start(t, "MEMORY_THRESHOLD_MB=1", "MEMORY_MONITOR_INTERVAL=50ms")
	var files []string
	p.await("an incident file", func() bool {
		files, _ = filepath.Glob(p.data("incidents/incident-*.zip"))
		return len(files) > 0
	})
	if err := os.Rename(files[0], filepath.Join(p.dir, strings.Fields(text)[1])); err != nil {
		t.Fatal(err)
	}
	p.runs(text)
	for _, m := range regexp.MustCompile("(?m)^\\| `([\\w.]+)` \\|").FindAllStringSubmatch(readFile(t, "../docs/INCIDENTS.md"), -1) {
		if _, err := os.Stat(filepath.Join(p.dir, m[1])); err != nil && strings.Contains(m[1], ".") && m[1] != "trace.out" { // there is none without a sign
			t.Errorf("the file has no %s", m[1])
		}
	}
}

// playMigration brings a real database of the old backend over, and serves what came.
func playMigration(t *testing.T, text string) {
	if _, err := exec.LookPath("pg_dump"); err != nil {
		t.Skip("needs pg_dump, of PostgreSQL's client")
	}
	const twin = `DELETE FROM "Note" WHERE "userId" IN (SELECT "id" FROM "User" WHERE "email" = 'Ada@Example.com');
		DELETE FROM "User" WHERE "email" = 'Ada@Example.com'` // of another account, which the import would name
	url := storetest.PostgresWith(t, append(legacyTables(t, "legacy.sql"), twin)...)
	old, _, _ := strings.Cut(url, "?") // whose & is the shell's
	p := newProcess(t)
	lines := commandLines(text)
	if last := lines[len(lines)-1]; last != "notesd" {
		t.Fatalf("the last command is %s, want notesd", last)
	}
	text = strings.NewReplacer("postgres://notes@db.example.com/notes", old, "…", "unused").Replace(strings.Join(lines[:len(lines)-1], "\n"))
	if out := p.runs(text); strings.Count(out, "account") < 2 {
		t.Errorf("the import says\n%s", out)
	}
	p.start()
	p.awaitReady()
	p.visitor().get("/api/health").want(http.StatusOK)
	p.stop()
}

var span = regexp.MustCompile("`([^`\n]+)`")

// Whatever people are told to type, in documents and in the comments of what is shipped, names what is there: targets,
// subcommands and their flags, services, units, files, tests.
func TestDocumentsCommands(t *testing.T) {
	t.Parallel()
	e, examined := newExaminer(t), 0
	for file, lines := range toldToType(t) {
		for _, line := range lines {
			examined++
			for _, wrong := range e.examine(line) {
				t.Errorf("%s: %s: %s", file, line, wrong)
			}
		}
	}
	if examined < 100 {
		t.Errorf("examined %d lines: where are the others?", examined)
	}
	for _, slip := range []string{"make nonsense", "notesd nonsense", "notesd backup -nonsense FILE", "notesd bench nonsense", "notesd user nonsense ADDRESS",
		"go test ./nonsense", "go test ./e2e -run '^TestNonsense$'", "docker compose -f compose.prod.yaml exec -T nonsense /notesd",
		"docker compose run --rm notesd nonsense", "systemctl start nonsense.service", "./quick-start.sh nonsense", "deploy/rolling nonsense",
		"kubectl apply -f deploy/kubernetes/nonsense.yaml", "A=1 make help && notesd check -nonsense"} {
		if len(e.examine(slip)) != 1 {
			t.Errorf("nothing is found wrong with %s", slip)
		}
	}
}

// toldToType are the commands by file: those of blocks, those in the middle of a text, those that a comment sets apart.
func toldToType(t *testing.T) map[string][]string {
	t.Helper()
	told := map[string][]string{}
	spans := func(name, text string) {
		for _, m := range span.FindAllStringSubmatch(text, -1) {
			if typed.MatchString(m[1]) {
				told[name] = append(told[name], m[1])
			}
		}
	}
	for _, name := range documents(t) {
		if strings.HasSuffix(name, "CHANGELOG.md") {
			continue // what was so once
		}
		text := readFile(t, name)
		for _, m := range fenced.FindAllStringSubmatch(text, -1) {
			if m[1] == "sh" {
				told[name] = append(told[name], commandLines(m[2])...)
			}
		}
		spans(name, fenced.ReplaceAllString(text, ""))
	}
	apart := regexp.MustCompile(`(?m)^#   (\S.*?)(?:   .*)?$`)
	for _, pattern := range []string{"../compose*.yaml", "../Dockerfile", "../deploy/[CRnrw]*", "../deploy/*/*.y*ml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, name := range files {
			text := readFile(t, name)
			for _, m := range apart.FindAllStringSubmatch(text, -1) {
				told[name] = append(told[name], m[1])
			}
			spans(name, text)
		}
	}
	return told
}

// typed is how a span begins that is a command, and no name of one.
var typed = regexp.MustCompile(`^(make|notesd|notesd-faults|\./quick-start\.sh|deploy/rolling|go (test|run|build|-C)|docker compose|systemctl|promtool|kubectl) ?[\w./-]*`)

// commandsOf splits a line into commands, and those into words; quotes go.
func commandsOf(line string) (commands [][]string) {
	word := regexp.MustCompile(`&&|\|\|?|;|(?:'[^']*'|"[^"]*"|[^\s;|'"])+`)
	var words []string
	for _, w := range append(word.FindAllString(line, -1), ";") {
		if !slices.Contains([]string{"&&", "|", "||", ";"}, w) {
			words = append(words, strings.NewReplacer(`'`, "", `"`, "").Replace(w))
			continue
		}
		for len(words) > 0 && (regexp.MustCompile(`^\w+=`).MatchString(words[0]) || words[0] == "exec" || words[0] == "export") {
			words = words[1:]
		}
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	return commands
}

// An examiner looks at commands without running them.
type examiner struct {
	t             *testing.T
	p             *process
	tests         map[string]bool
	targets, help string // what make and notesd say of themselves
	found         []string
}

func newExaminer(t *testing.T) *examiner {
	t.Helper()
	e := &examiner{t: t, p: newUnraced(t), tests: allTests(t), targets: tool(t, nil, "make", "help")}
	e.help = e.p.must("", "help") + "\n" + e.p.must("", "bench", "-h")
	return e
}

func (e *examiner) wrong(format string, args ...any) {
	e.found = append(e.found, fmt.Sprintf(format, args...))
}

// examine returns what is wrong with a line.
func (e *examiner) examine(line string) []string {
	e.t.Helper()
	e.found = nil
	for _, words := range commandsOf(line) {
		program, args := words[0], words[1:]
		switch program {
		case "make":
			e.make(args)
		case "notesd", "notesd-faults", "./notesd":
			e.notesd(args)
		case "./quick-start.sh", "deploy/rolling":
			e.script(program, args)
		case "docker":
			e.docker(args)
		case "go":
			e.goTool(args)
		case "systemctl", "kubectl", "promtool":
			e.files(args)
		}
	}
	return e.found
}

// make looks for targets.
func (e *examiner) make(args []string) {
	for _, arg := range args {
		isTarget := !strings.Contains(arg, "=") && !strings.HasPrefix(arg, "-")
		if isTarget && !strings.Contains(e.targets, " "+arg+" ") {
			e.wrong("make help lists no %s", arg)
		}
	}
}

// script looks for what a script of ours is told.
func (e *examiner) script(program string, args []string) {
	text := readFile(e.t, "../"+program)
	for _, arg := range args {
		if !strings.Contains(text, arg) {
			e.wrong("%s knows no %s", program, arg)
		}
	}
}

// notesd looks for a subcommand and its flags where the program itself lists them.
func (e *examiner) notesd(args []string) {
	if len(args) == 0 {
		return
	}
	sub := args[0]
	if sub != "help" && !strings.HasPrefix(sub, "-") && !strings.Contains(e.help, "  notesd "+sub) {
		e.wrong("there is no notesd %s", sub)
		return
	}
	known := []string{sub, "-h"}
	if sub == "user" && len(args) > 1 {
		known = []string{sub, args[1], "-h"}
	}
	for i, arg := range args[1:] {
		switch {
		case strings.HasPrefix(arg, ">"):
			return
		case strings.HasPrefix(arg, "-") && arg != "-" && arg != "-h":
			flag := "-" + strings.TrimLeft(arg, "-")
			if out, _ := e.p.run("", known...); !regexp.MustCompile(regexp.QuoteMeta(flag) + `\b`).MatchString(out) {
				e.wrong("notesd %s has no %s", sub, flag)
			}
		case i == 0 && sub == "bench" && !strings.Contains(e.help, "\n  "+arg+" "):
			e.wrong("notesd bench has no scenario %s", arg)
		case i == 0 && sub == "user" && !strings.Contains(e.help, "notesd user "+arg):
			e.wrong("there is no notesd user %s", arg)
		}
	}
}

// docker looks for the files and the services of docker compose.
func (e *examiner) docker(args []string) {
	if args[0] != "compose" {
		return
	}
	verbs := []string{"exec", "run", "ps", "up", "down", "logs", "config"}
	at := slices.IndexFunc(args, func(arg string) bool { return slices.Contains(verbs, arg) })
	if at < 0 {
		return // a beginning
	}
	file := "compose.yaml"
	if f := slices.Index(args, "-f"); f > 0 {
		file = args[f+1]
	}
	text := readFile(e.t, "../"+file)
	if args[at] == "exec" || args[at] == "run" {
		for i, arg := range args[at+1:] {
			if strings.HasPrefix(arg, "-") || args[at+i] == "-e" {
				continue
			}
			if !regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(arg) + `:`).MatchString(text) {
				e.wrong("%s has no service %s", file, arg)
			}
			if arg == "notesd" && len(args) > at+i+2 {
				e.notesd(slices.DeleteFunc(args[at+i+2:], func(a string) bool { return a == "/notesd" }))
			}
			return
		}
	}
}

// goTool looks for directories and for tests.
func (e *examiner) goTool(args []string) {
	for i, arg := range args {
		switch {
		case strings.HasPrefix(arg, "./"), i > 0 && args[i-1] == "-C":
			if _, err := os.Stat(filepath.Join("..", strings.TrimSuffix(arg, "..."))); err != nil {
				e.wrong("%v", err)
			}
		case i > 0 && (args[i-1] == "-run" || args[i-1] == "-bench"):
			pattern, err := regexp.Compile(strings.NewReplacer("^-$", "", "(", "(?:").Replace(arg))
			if err != nil {
				e.wrong("%v", err)
				continue
			}
			if arg == "-" || arg == "^$" || arg == "." {
				continue // none, or all
			}
			found := false
			for name := range e.tests {
				found = found || pattern.MatchString(name)
			}
			if !found {
				e.wrong("no test is called %s", arg)
			}
		}
	}
}

// files looks for what is named by a path or as a unit.
func (e *examiner) files(args []string) {
	for _, arg := range args {
		name := arg
		if strings.HasSuffix(arg, ".service") || strings.HasSuffix(arg, ".socket") || strings.HasSuffix(arg, ".timer") {
			name = "deploy/" + arg
		}
		if !strings.HasPrefix(name, "deploy/") {
			continue
		}
		if _, err := os.Stat("../" + name); err != nil {
			e.wrong("%v", err)
		}
	}
}
