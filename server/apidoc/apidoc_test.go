package apidoc

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// The document has what its source says. yaml.Unmarshal, which merges by itself, says what that is.
func TestDocument(t *testing.T) {
	var want map[string]any
	if err := yaml.Unmarshal(source, &want); err != nil {
		t.Fatal(err)
	}
	delete(want, shared)
	text, err := json.Marshal(want) // whole numbers become those of JSON
	if err != nil {
		t.Fatal(err)
	}
	var got, wanted map[string]any
	if err := json.Unmarshal(Document(), &got); err != nil {
		t.Fatalf("Document() is no JSON: %v", err)
	}
	if err := json.Unmarshal(text, &wanted); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("Document() is not its source (-source +got):\n%s", diff)
	}
	if !bytes.HasPrefix(Document(), []byte(`{"openapi":"3.1.`)) {
		t.Errorf("Document() begins with %.40s, want the members in the order of the source", Document())
	}
}

// Each reference leads to something, and each component is referred to.
func TestReferences(t *testing.T) {
	var document map[string]any
	if err := json.Unmarshal(Document(), &document); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, ref := range regexp.MustCompile(`"\$ref":"([^"]*)"`).FindAllSubmatch(Document(), -1) {
		used[string(ref[1])] = true
		var at any = document
		for name := range strings.SplitSeq(strings.TrimPrefix(string(ref[1]), "#/"), "/") {
			in, _ := at.(map[string]any)
			at = in[name]
		}
		if at == nil {
			t.Errorf("%s leads nowhere", ref[1])
		}
	}
	for kind, all := range document["components"].(map[string]any) {
		if kind == "securitySchemes" {
			continue
		}
		for name := range all.(map[string]any) {
			if at := "#/components/" + kind + "/" + name; !used[at] {
				t.Errorf("nothing refers to %s", at)
			}
		}
	}
}

// The files are there, the same in both codings, and small enough to be a part of the program.
func TestFiles(t *testing.T) {
	total, tags := 0, map[string]bool{}
	for _, f := range Files() {
		r, err := gzip.NewReader(bytes.NewReader(f.Gzip()))
		if err != nil {
			t.Fatalf("%s: %v", f.Path, err)
		}
		plain, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(plain, f.Plain()) || len(plain) == 0 {
			t.Errorf("%s: %d bytes, but %d and %v compressed", f.Path, len(f.Plain()), len(plain), err)
		}
		if f.Policy == "" != !strings.HasPrefix(f.ContentType, "text/html") {
			t.Errorf("%s of type %s has the policy %q", f.Path, f.ContentType, f.Policy)
		}
		total, tags[f.ETag()] = total+len(f.Gzip()), true
	}
	if total > 3<<19 || len(tags) != len(Files()) {
		t.Errorf("%d bytes in all and %d different tags, want 1.5 MiB at most and %d", total, len(tags), len(Files()))
	}
}

// Swagger UI is what npm has: swagger-ui/vendor wrote the checksums of the tarball's files.
func TestVendored(t *testing.T) {
	sums, err := os.Open("swagger-ui/SHA256SUMS")
	if err != nil {
		t.Fatal(err)
	}
	defer sums.Close()
	checked := map[string]bool{}
	for lines := bufio.NewScanner(sums); lines.Scan(); {
		sum, name, found := strings.Cut(lines.Text(), "  ")
		if !found {
			continue
		}
		var in io.Reader
		file, err := os.Open("swagger-ui/" + name)
		if in = file; os.IsNotExist(err) {
			if file, err = os.Open("swagger-ui/" + name + ".gz"); err == nil {
				in, err = gzip.NewReader(file)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		hash := sha256.New()
		if _, err := io.Copy(hash, in); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
			t.Errorf("%s has the checksum %s, want %s", name, got, sum)
		}
		_ = file.Close()
		checked[name+".gz"], checked[name] = true, true
	}
	entries, err := os.ReadDir("swagger-ui")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if own := e.Name() == "vendor" || e.Name() == "SHA256SUMS"; !own && !checked[e.Name()] {
			t.Errorf("swagger-ui/%s has no checksum", e.Name())
		}
	}
}
