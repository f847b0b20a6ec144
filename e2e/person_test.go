package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/pquerna/otp/totp"

	"notesd/internal/testserver"
)

// The life of an account, in a browser and with curl: it is made, asks for one-time codes, has an app token, sessions that
// are ended, and a new password, and is deleted. With two replicas the browser is at one, and curl at the other.
func TestAccountLife(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl")
	}
	for _, row := range []struct {
		name  string
		start func(t *testing.T) (one, other *process)
	}{
		{"one process", func(t *testing.T) (one, other *process) {
			p := start(t, "LOG_LEVEL=debug")
			return p, p
		}},
		{"two replicas", func(t *testing.T) (one, other *process) {
			long(t, "another browser and PostgreSQL")
			settings := []string{"LOG_LEVEL=debug", "DATABASE_URL=" + testserver.EmptyPostgres(t), "REDIS_URL=" + testserver.Redis(t), secret}
			return start(t, settings...), start(t, settings...)
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			one, other := row.start(t)
			a := &accountLife{t: t, browser: newBrowser(t, one), curl: curl, url: other.url}
			secrets := a.live()
			for _, p := range []*process{one, other} {
				log := p.log.String()
				for name, text := range secrets {
					if text == "" || strings.Contains(log, text) {
						t.Errorf("%s (%d characters) is empty, or in the log of %s", name, len(text), p.url)
					}
				}
			}
		})
	}
}

// accountLife is one run of TestAccountLife.
type accountLife struct {
	t       *testing.T
	browser *browser
	curl    string
	url     string // of the server that curl asks
}

// asks runs curl with arguments for a path, and returns the answer's status and body.
func (a *accountLife) asks(path string, args ...string) (status, body string) {
	a.t.Helper()
	args = append([]string{"-sS", "-m", "20", "-w", "\n%{http_code}", a.url + path}, args...)
	out, err := exec.Command(a.curl, args...).CombinedOutput()
	if err != nil {
		a.t.Fatalf("curl %s: %v: %s", path, err, out)
	}
	end := strings.LastIndexByte(string(out), '\n')
	return string(out[end+1:]), string(out[:end])
}

// wants fails the test unless curl gets a status, within a second. It returns the body.
func (a *accountLife) wants(status, path string, args ...string) string {
	a.t.Helper()
	got, body := "", ""
	for until := time.Now().Add(time.Second); ; time.Sleep(50 * time.Millisecond) {
		if got, body = a.asks(path, args...); got == status {
			return body
		}
		if time.Now().After(until) {
			a.t.Fatalf("curl %s = %s %s, want %s", path, got, body, status)
		}
	}
}

// signsIn signs in with curl. more are further members of the body.
func (a *accountLife) signsIn(password, more string) []string {
	return []string{"-H", "Content-Type: application/json", "-d", fmt.Sprintf(`{"email":"ada@example.com","password":%q%s}`, password, more)}
}

// text returns the text of the element that a selector finds.
func (a *accountLife) text(selector string) string {
	a.t.Helper()
	text := ""
	for until := time.Now().Add(patience); text == ""; time.Sleep(20 * time.Millisecond) {
		text = find(a.browser.tab, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector(%q)?.textContent ?? ""`, selector)))
		if time.Now().After(until) {
			a.t.Fatalf("%s has no text; the page has:\n%s", selector, a.browser.text("body"))
		}
	}
	return text
}

// live goes through it all, and returns what no log may have.
func (a *accountLife) live() map[string]string {
	t, b := a.t, a.browser
	part := func(title string) string { return fmt.Sprintf(`section[aria-label="%s"] `, title) }
	code := func(key string) string {
		// Each code passes once, so this is the code of the next 30 seconds, which the server takes already.
		text, err := totp.GenerateCode(key, time.Now().Add(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}

	b.click("Make an account")
	b.sign()
	b.open("/#account")
	b.click("Set up")
	key := a.text(part("One-time codes") + "p code")
	now, err := totp.GenerateCode(key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.do(chromedp.SendKeys(part("One-time codes")+"[name=code]", now+kb.Enter))
	recovery := strings.Fields(a.text(part("One-time codes") + ".codes"))
	if len(recovery) != 10 {
		t.Fatalf("%d recovery codes, want 10", len(recovery))
	}
	// The password alone lets nobody in any more.
	if body := a.wants("401", "/api/auth/login", a.signsIn(password, "")...); !strings.Contains(body, `"totp_required"`) {
		t.Errorf("a sign-in without a code = %s", body)
	}
	if body := a.wants("401", "/api/auth/login", a.signsIn(password, `,"totp":"`+now+`"`)...); !strings.Contains(body, `"totp_invalid"`) {
		t.Errorf("a sign-in with the code that turned them on = %s", body)
	}

	b.do(chromedp.SendKeys(part("App tokens")+"[name=name]", "backup script"), chromedp.SetValue(part("App tokens")+"[name=scope]", "write"))
	b.do(chromedp.SendKeys(part("App tokens")+"[name=name]", kb.Enter))
	token := a.text(part("App tokens") + "p code")
	bearer := []string{"-H", "Authorization: Bearer " + token}
	basic := []string{"-u", "ada@example.com:" + token}
	made := a.wants("201", "/api/notes", append(bearer, "-H", "Content-Type: application/json", "-d", `{"title":"from a script","content":"text"}`)...)
	if list := a.wants("200", "/api/notes", basic...); !strings.Contains(list, "from a script") {
		t.Errorf("the list by Basic = %s, want the note of %s", list, made)
	}
	a.wants("403", "/api/auth/sessions", bearer...)
	a.wants("401", "/api/notes", "-u", "ada@example.com:"+password)
	b.open("/")
	b.until("the note of the script", `document.body.textContent.includes("from a script")`)
	b.open("/#account")
	b.until("the token in the list", fmt.Sprintf(`document.querySelector(%q)?.textContent.includes("backup script") === true`, part("App tokens")+".rows"))

	// A second session, with a code and then with a recovery code.
	jar := t.TempDir() + "/jar"
	a.wants("200", "/api/auth/login", append(a.signsIn(password, `,"totp":"`+code(key)+`"`), "-c", jar)...)
	a.wants("200", "/api/auth/login", append(a.signsIn(password, `,"totp":"`+recovery[0]+`"`), "-c", jar)...)
	a.wants("401", "/api/auth/login", a.signsIn(password, `,"totp":"`+recovery[0]+`"`)...)
	var sessions struct{ Data []struct{ Device string } }
	if err := json.Unmarshal([]byte(a.wants("200", "/api/auth/sessions", "-b", jar)), &sessions); err != nil || len(sessions.Data) != 3 {
		t.Errorf("sessions = %+v, %v, want 3", sessions, err)
	}
	b.do(chromedp.Reload(), chromedp.WaitVisible(part("Where you are signed in")+"button"))
	b.click("End all others")
	a.wants("401", "/api/notes", "-b", jar)

	b.click("Delete the token backup script")
	a.wants("401", "/api/notes", bearer...)
	a.wants("401", "/api/notes", basic...)

	const next = "staple correct horse"
	a.wants("200", "/api/auth/login", append(a.signsIn(password, `,"totp":"`+recovery[1]+`"`), "-c", jar)...)
	b.do(chromedp.SendKeys(part("Password")+"[name=current]", password), chromedp.SendKeys(part("Password")+"[name=new]", next+kb.Enter))
	a.wants("401", "/api/notes", "-b", jar)
	b.until("the session of the browser", `document.querySelector(".part") !== null`)
	if status, body := a.asks("/api/auth/login", a.signsIn(password, `,"totp":"`+recovery[2]+`"`)...); status != "401" {
		t.Errorf("a sign-in with the old password = %s %s", status, body)
	}
	a.wants("200", "/api/auth/login", append(a.signsIn(next, `,"totp":"`+recovery[2]+`"`), "-c", jar)...)

	deletion := fmt.Sprintf(`{"password":%q,"totp":%q}`, next, recovery[3])
	a.wants("202", "/api/auth/me", "-b", jar, "-X", "DELETE", "-H", "Content-Type: application/json", "-d", deletion)
	a.wants("401", "/api/notes", "-b", jar)
	b.open("/")
	b.do(chromedp.WaitVisible("[name=password]"))
	a.wants("401", "/api/auth/login", a.signsIn(next, `,"totp":"`+recovery[4]+`"`)...)
	// The address is free again.
	for until := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		status, body := a.asks("/api/auth/register", a.signsIn(next, "")...)
		if status == "201" {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("a sign-up with the address of a deleted account = %s %s", status, body)
		}
	}
	return map[string]string{"the password": password, "the new password": next, "the key of the codes": key, "a recovery code": recovery[0],
		"the token": token}
}
