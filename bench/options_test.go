package bench

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	o, err := Parse(strings.Fields("-c 7 open -rate 50.5 -fixed -d 2 -work mix -work search -inject /api/fault/panic=0.1 "+
		"-arms unbounded,single -set A=b=c -set B= -rounds 2 -people 3 -notes 4 -requests 5 -retry after -loads "+
		"2,1,2 -allow-late"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if o.scenario.name != "open" || o.Connections != 7 || o.Rate != 50.5 || !o.Fixed || o.Duration != 2*time.Second ||
		o.Rounds != 2 || o.People != 3 || o.NotesEach != 4 || o.Requests != 5 || o.Retry != RetryAfter || !o.AllowLate {
		t.Errorf("Parse() = %+v", o)
	}
	if len(o.Works) != 2 || len(o.Works[0].Shares) != 3 || o.Works[0].Shares[0] != (Share{"read", 70}) ||
		o.Works[1].Name != "search" {
		t.Errorf("works %+v", o.Works)
	}
	if len(o.Arms) != 2 || o.Arms[0].Name != "unbounded" || len(o.Settings) != 2 || len(o.Loads) != 2 || o.Loads[0] != 1 ||
		*o.Injection != (Injection{"/api/fault/panic", 0.1}) {
		t.Errorf("arms %v, settings %q, loads %v, injection %+v", o.Arms, o.Settings, o.Loads, o.Injection)
	}
}

// Every scenario's own values make sense, and what is asked for wins.
func TestDefaults(t *testing.T) {
	for _, s := range scenarios() {
		args := []string{s.name}
		if s.rated {
			args = append(args, "-rate", "1")
		}
		o, err := Parse(args, nil)
		if err != nil {
			t.Errorf("Parse(%q) = %v", args, err)
		}
		if len(o.Works) != len(s.works) || o.Duration != s.duration || s.arms != "" && len(o.Arms) == 0 {
			t.Errorf("Parse(%q) = %+v", args, o)
		}
		if again, err := Parse(append(args, strings.Fields(s.defaults())...), nil); err != nil ||
			again.Connections != o.Connections ||
			len(again.Arms) != len(o.Arms) || again.Retry != o.Retry {
			t.Errorf("Parse(%s) = %+v, %v, want what it is without", s.defaults(), again, err)
		}
	}
	if o, err := Parse(nil, nil); err != nil || o.scenario.name != defaultScenario || len(o.Works) != 2 {
		t.Errorf("Parse() = %+v, %v", o, err)
	}
	if o, err := Parse([]string{"closed", "-url", "http://127.0.0.1:1"}, nil); err != nil || o.Arms != nil {
		t.Errorf("arms of a server that runs already: %v, %v", o.Arms, err)
	}
}

func TestMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"open":                                 "-rate 0: the scenario open sends at a rate above 0",
		"open -rate 0":                         "-rate 0: the scenario open sends",
		"open -rate -1":                        "-rate -1: the scenario open sends",
		"open -rate NaN":                       "-rate NaN: the scenario open sends",
		"open -rate 1e9":                       "1000000 a second at most",
		"closed -rate 5":                       "-rate is for the scenario open",
		"closed -d 0":                          "a run takes from 100ms to 1h0m0s",
		"closed -d -5s":                        "a run takes from",
		"closed -d 99ms":                       "a run takes from",
		"closed -d 3601":                       "a run takes from",
		"closed -d 876000h":                    "a run takes from",
		"closed -d soon":                       "not a duration like 30s",
		"closed -d Inf":                        "not a duration like 30s",
		"closed -c 0":                          "-c 0: from 1 to 50000",
		"closed -c 50001":                      "-c 50001: from 1 to 50000",
		"closed -c many":                       "-c",
		"closed -rounds 0":                     "-rounds 0: from 1 to 100",
		"closed -people 0":                     "-people 0: from 1 to 1000",
		"fairness -people 1":                   "-people 1: from 2 to 1000",
		"closed -notes 0":                      "-notes 0: from 1 to 10000",
		"closed -requests 0":                   "-requests 0: from 1 to 1000000000",
		"closed -work sleep":                   `no work "sleep": health, sign-in, read, list, write, search, mix`,
		"closed -work read=1,sleep=2":          `no work "sleep"`,
		"closed -work read=0":                  "read=0: a share is a number above 0",
		"closed -work read=x":                  "a share is a number above 0",
		"closed -work read=NaN":                "a share is a number above 0",
		"closed -inject /api/fault/panic":      "is not PATH=SHARE",
		"closed -inject panic=0.1":             "is not PATH=SHARE",
		"closed -inject /x=1":                  "is not PATH=SHARE",
		"closed -inject /x=0":                  "is not PATH=SHARE",
		"closed -arms turbo":                   `no arm "turbo": sharded, single, unbounded`,
		"closed -arms single,single":           "single twice",
		"overload -loads 0":                    `"0" is not a multiple above 0`,
		"overload -loads 1,x":                  `"x" is not a multiple above 0`,
		"overload -capacity -1":                "-capacity -1: above 0",
		"storm -retry never":                   "none, now or after",
		"closed -set CLUSTER_MODE":             "not NAME=VALUE",
		"compare -url http://x":                "the scenario compare starts the servers that it compares",
		"scale -url http://x":                  "the scenario scale starts",
		"closed -url http://x -arms single":    "-arms and -set are for servers that are started",
		"closed -url http://x -set A=b":        "-arms and -set are for servers that are started",
		"sideways":                             `no scenario "sideways": ["compare" "closed"`,
		"closed open":                          "one scenario, and flags",
		"closed -speed 9":                      "flag provided but not defined: -speed",
		"closed -c":                            "flag needs an argument: -c",
		"closed -c 99999999999999999999999999": "-c",
		"closed -requests 9223372036854775807": "-requests 9223372036854775807: from",
		"overload -loads 1,101":                `"101" is not a multiple above 0, 100 at most`,
		"closed -work ,":                       `no work ""`,
	} {
		_, err := Parse(strings.Fields(args), nil)
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%s) = %v, want an ErrUsage with %q", args, err, want)
		}
	}
	if _, err := Parse([]string{"-inject", "/x y\r\nA: b=0.1"}, nil); err == nil {
		t.Error("a path with a line break is taken")
	}
}

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if _, err := Parse([]string{"-h"}, &out); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("Parse(-h) = %v, want flag.ErrHelp", err)
	}
	text := out.String()
	for _, s := range scenarios() {
		if !strings.Contains(text, "\n  "+s.name+" ") {
			t.Errorf("no %s in the help", s.name)
		}
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "  -") && len(strings.Fields(line)) < 3 || strings.Contains(line, "`") ||
			strings.Contains(line, "|") {
			t.Errorf("a flag without a word of help, or with a stray mark: %q", line)
		}
	}
}

func TestWithoutSecrets(t *testing.T) {
	for text, want := range map[string]string{
		"-c":             "-c",
		"LOG_LEVEL=warn": "LOG_LEVEL=warn",
		"DATABASE_URL=postgres://u:hunter2@127.0.0.1/n":        "DATABASE_URL=postgres://u:xxxxx@127.0.0.1/n",
		"-set=REDIS_URL=redis://:hunter2@127.0.0.1":            "-set=REDIS_URL=redis://:xxxxx@127.0.0.1",
		"DATABASE_URL=postgres://127.0.0.1/n?password=hunter2": "DATABASE_URL=REDACTED",
		"SESSION_SECRET=hunter2":                               "SESSION_SECRET=REDACTED",
		"-set=ADMIN_TOKEN=hunter2":                             "-set=ADMIN_TOKEN=REDACTED",
		"ALERT_WEBHOOK_URL=https://x/hunter2":                  "ALERT_WEBHOOK_URL=REDACTED",
	} {
		if got := withoutSecrets(text); got != want {
			t.Errorf("withoutSecrets(%s) = %s, want %s", text, got, want)
		}
	}
}
