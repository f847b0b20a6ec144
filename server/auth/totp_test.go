package auth

import (
	"bytes"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/yeqown/go-qrcode/v2"
)

// These codes are the last six digits of those in RFC 6238, appendix B.
func TestMatchingStep(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, code := range map[int64]string{
		1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130",
	} {
		for off, want := range map[int64]bool{-60: false, -30: true, 0: true, 30: true, 60: false} {
			step, right := matchingStep(secret, code, time.Unix(at+off, 0))
			if right != want || right && step != at/30 {
				t.Errorf("matchingStep(%s) %d s off = %d, %t, want %d, %t", code, off, step, right, at/30, want)
			}
		}
	}
}

func TestPlainCode(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "123456": "123456", " 123 456\n": "123456", "123\u00a0456": "123456", "１２３　４５６": "123456",
		"abcd-efgh-ijkl-mnop": "ABCDEFGHIJKLMNOP", "-": "?", " ": "?", strings.Repeat("1", 65): "?",
	} {
		if got := plainCode(in); got != want {
			t.Errorf("plainCode(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzPlainCode(f *testing.F) {
	f.Add("１２3 456")
	f.Fuzz(func(t *testing.T, code string) {
		plain := plainCode(code)
		if (plain == "") != (code == "") || plainCode(plain) != plain && len(plain) <= maxCode {
			t.Errorf("plainCode(%q) = %q", code, plain)
		}
		if strings.ContainsFunc(plain, unicode.IsSpace) {
			t.Errorf("plainCode(%q) = %q has blanks", code, plain)
		}
	})
}

// A secret is opened for its user alone, and with its key alone.
func TestTOTPKeys(t *testing.T) {
	old, both := newTOTPKeys([]string{"old"}), newTOTPKeys([]string{"new", "old"})
	secret := newTOTPSecret()
	sealed := old.seal("ada", secret)
	if got, err := both.open(sealed); err != nil || !bytes.Equal(got, secret) || bytes.Contains(sealed.Secret, secret) {
		t.Errorf("open = %x, %v, want %x", got, err, secret)
	}
	sealed.UserID = "bob"
	if _, err := both.open(sealed); !errors.Is(err, errUndecryptable) {
		t.Errorf("open of another user's = %v", err)
	}
	if _, err := old.open(both.seal("ada", secret)); !errors.Is(err, errUndecryptable) {
		t.Errorf("open of one under another key = %v", err)
	}
	if id := TOTPKeyID("old"); sealed.KeyID != id || id == TOTPKeyID("new") {
		t.Errorf("the id of the key is %q, want %q", sealed.KeyID, id)
	}
}

// The image has the modules of the code, in a white margin of four.
func TestQRCode(t *testing.T) {
	const text = "otpauth://totp/notesd:ada%20l@example.com?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
	svg, err := QRCode(text)
	if err != nil {
		t.Fatal(err)
	}
	size := len(imageModules(t, svg))
	code, err := qrcode.NewWith(text, qrcode.WithErrorCorrectionLevel(qrcode.ErrorCorrectionMedium))
	if err != nil {
		t.Fatal(err)
	}
	var want modules
	if err := code.Save(&want); err != nil {
		t.Fatal(err)
	}
	if size != len(want.rows)+8 {
		t.Fatalf("the image has %d rows, want %d and 8", size, len(want.rows))
	}
	for y, row := range imageModules(t, svg) {
		for x, dark := range row {
			inside := x >= 4 && y >= 4 && x < size-4 && y < size-4
			if dark != (inside && want.rows[y-4][x-4]) {
				t.Fatalf("the module in column %d of row %d is dark: %t", x, y, dark)
			}
		}
	}
	if _, err := QRCode(strings.Repeat("x", 10_000)); err == nil {
		t.Error("QRCode of 10000 bytes has no error")
	}
}

// modules is a qrcode.Writer.
type modules struct{ rows [][]bool }

func (m *modules) Write(matrix qrcode.Matrix) error { m.rows = matrix.Bitmap(); return nil }
func (m *modules) Close() error                     { return nil }

// imageModules returns the modules that an image shows, as its path says.
func imageModules(t *testing.T, svg string) (rows [][]bool) {
	t.Helper()
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	box := regexp.MustCompile(`viewBox="0 0 (\d+) (\d+)"`).FindStringSubmatch(svg)
	if box == nil || box[1] != box[2] {
		t.Fatalf("%.200s", svg)
	}
	for range number(box[2]) {
		rows = append(rows, make([]bool, number(box[1])))
	}
	for _, run := range regexp.MustCompile(`M(\d+) (\d+)h(\d+)v1h-(\d+)z`).FindAllStringSubmatch(svg, -1) {
		for i := range number(run[3]) {
			rows[number(run[2])][number(run[1])+i] = true
		}
	}
	return rows
}
