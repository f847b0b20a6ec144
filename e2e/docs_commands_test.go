package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sh is a block of commands in a document. One that begins with "```sh run" is run by TestDocumentsRun.
var sh = regexp.MustCompile("(?ms)^```sh( run)?\n(.*?)^```$")

// documents are the pages by name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/results/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			pages[name] = readFile(t, name)
		}
	}
	return pages
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

// Every block that a document marks is run, line by line, beside a server in development. One about incident files has one.
func TestDocumentsRun(t *testing.T) {
	t.Parallel()
	long(t, "a server for each block")
	need(t, "unzip")
	const patient = "-allow-late -set QUEUE_TIMEOUT=30s -d 2s" // the machine may be busy
	ran := 0
	for name, page := range documents(t) {
		for _, m := range sh.FindAllStringSubmatch(page, -1) {
			if m[1] == "" {
				continue
			}
			ran++
			t.Run(fmt.Sprint(filepath.Base(name), " ", strings.Fields(m[2])[:2]), func(t *testing.T) {
				t.Parallel()
				var settings []string
				incident := strings.Contains(m[2], "incidents/")
				if incident {
					settings = []string{"MEMORY_THRESHOLD_MB=1", "MEMORY_MONITOR_INTERVAL=50ms"}
				}
				p := start(t, settings...)
				p.await("an incident file", func() bool {
					files, _ := filepath.Glob(p.data("incidents/*.zip"))
					return len(files) > 0 || !incident
				})
				for _, line := range commandLines(m[2]) {
					if out := p.runs(strings.Replace(line, "-d 2s", patient, 1)); out == "" {
						t.Errorf("%s printed nothing", line)
					}
				}
			})
		}
	}
	if ran == 0 {
		t.Error("no document marks a block")
	}
}

// commandLines are the commands of a block, each on one line, without comments.
func commandLines(text string) (lines []string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		line = strings.TrimSpace(regexp.MustCompile(`(^|\s{2,})#.*`).ReplaceAllString(strings.TrimRight(line, "\n"), ""))
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// What people are told to type, in blocks and in the text, names what is there: targets of make, subcommands and their
// flags, tests, packages, files and units.
func TestDocumentsCommands(t *testing.T) {
	t.Parallel()
	e := newExaminer(t)
	span := regexp.MustCompile("`((?:make|notesd|\\./quick-start\\.sh|deploy/rolling|go (?:test|run|build)|docker compose|systemctl|promtool|kubectl) [^`\n]+)`")
	examined := 0
	for name, page := range documents(t) {
		if name == "../CHANGELOG.md" {
			continue // what was so once
		}
		var lines []string
		for _, m := range sh.FindAllStringSubmatch(page, -1) {
			lines = append(lines, commandLines(m[2])...)
		}
		for _, m := range span.FindAllStringSubmatch(sh.ReplaceAllString(page, ""), -1) {
			lines = append(lines, m[1])
		}
		examined += len(lines)
		for _, line := range lines {
			if wrong := e.examine(line); len(wrong) > 0 {
				t.Errorf("%s: %s: there is no %s", name, line, strings.Join(wrong, ", "))
			}
		}
	}
	if examined < 100 {
		t.Errorf("examined %d lines: where are the others?", examined)
	}
	for _, slip := range []string{"make nonsense", "make prove NAME=nonsense", "notesd nonsense", "notesd backup -nonsense FILE", "notesd bench nonsense", "notesd user nonsense ADDRESS",
		"go test ./nonsense", "go test ./e2e -run '^TestNonsense$'", "docker compose exec -T notesd /notesd nonsense", "systemctl start nonsense.service",
		"./quick-start.sh nonsense", "deploy/rolling nonsense", "kubectl apply -f deploy/kubernetes/nonsense.yaml", "A=1 make help && notesd check -nonsense"} {
		if len(e.examine(slip)) != 1 {
			t.Errorf("nothing is found wrong with %s", slip)
		}
	}
}

// An examiner looks at commands without running them.
type examiner struct {
	p             *process
	targets, help string // what make and notesd say of themselves
	proofs        string // their table
	tests         []string
	scripts       map[string]string
}

func newExaminer(t *testing.T) *examiner {
	t.Helper()
	e := &examiner{p: newUnraced(t), targets: tool(t, nil, "make", "help"), proofs: readFile(t, "../bench/lab/prove/proofs.go"),
		scripts: map[string]string{"./quick-start.sh": readFile(t, "../quick-start.sh"), "deploy/rolling": readFile(t, "../deploy/rolling")}}
	e.help = e.p.must("", "help") + "\n" + e.p.must("", "bench", "-h")
	names := tool(t, nil, "grep", "-rhoE", "--include=*_test.go", `^func (Test|Benchmark)\w+`, ".")
	e.tests = strings.Split(strings.ReplaceAll(names, "func ", ""), "\n")
	return e
}

// examine returns what a line names that is not there.
func (e *examiner) examine(line string) (wrong []string) {
	word := regexp.MustCompile(`&&|\|\|?|;|(?:'[^']*'|"[^"]*"|[^\s;|'"])+`)
	var words []string
	for _, w := range append(word.FindAllString(line, -1), ";") {
		if !slices.Contains([]string{"&&", "|", "||", ";"}, w) {
			words = append(words, strings.NewReplacer(`'`, "", `"`, "").Replace(w))
			continue
		}
		for len(words) > 0 && regexp.MustCompile(`^(\w+=.*|exec|export)$`).MatchString(words[0]) {
			words = words[1:]
		}
		if at := slices.Index(words, "/notesd"); at > 0 { // in a container
			words = words[at:]
		}
		for i, w := range words {
			if i > 0 && !e.knows(words[0], words[1:i], w) {
				wrong = append(wrong, w)
			}
		}
		words = nil
	}
	return wrong
}

// knows reports whether a program can be given a word after others.
func (e *examiner) knows(program string, before []string, w string) bool {
	last := strings.Join(before[max(0, len(before)-1):], "")
	name := regexp.MustCompile(`^[a-z][a-z-]*$`).MatchString(w)
	switch {
	case regexp.MustCompile(`^[\w-]+\.(service|socket|timer)$`).MatchString(w):
		w = "deploy/" + w
		fallthrough
	case strings.HasPrefix(w, "deploy/"), program == "go" && strings.HasPrefix(w, "./"):
		_, err := os.Stat(filepath.Join("..", strings.TrimSuffix(w, "...")))
		return err == nil
	case program == "make" && strings.HasPrefix(w, "NAME="):
		return w == "NAME=help" || strings.Contains(e.proofs, fmt.Sprintf("\n\t{name: %q,", strings.TrimPrefix(w, "NAME=")))
	case program == "make":
		return !name || strings.Contains(e.targets, " "+w+" ")
	case e.scripts[program] != "":
		return strings.Contains(e.scripts[program], w)
	case program == "go" && (last == "-run" || last == "-bench"):
		pattern := regexp.MustCompile(w)
		return slices.Contains([]string{"-", "^$", "^-$", "."}, w) || slices.ContainsFunc(e.tests, pattern.MatchString)
	case program != "/notesd" && program != "notesd":
		return true
	case len(before) == 0:
		return !name || w == "help" || strings.Contains(e.help, "  notesd "+w)
	case len(before) == 1 && last == "bench":
		return !name || strings.Contains(e.help, "\n  "+w+" ")
	case len(before) == 1 && last == "user":
		return !name || strings.Contains(e.help, "notesd user "+w)
	case strings.HasPrefix(w, "-") && w != "-" && w != "-h":
		asked := append(slices.Clone(before[:1]), "-h")
		if before[0] == "user" {
			asked = append(slices.Clone(before[:2]), "-h")
		}
		out, _ := e.p.run("", asked...)
		flag, _, _ := strings.Cut("-"+strings.TrimLeft(w, "-"), "=")
		return regexp.MustCompile(regexp.QuoteMeta(flag) + `\b`).MatchString(out)
	}
	return true
}
