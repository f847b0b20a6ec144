package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// install installs the packages that the lock file pins, unless they are installed.
func install(web string) error {
	lock, err := os.ReadFile(filepath.Join(web, "package-lock.json"))
	if err != nil {
		return err
	}
	stamp := filepath.Join(web, "node_modules", ".installed")
	if have, err := os.ReadFile(stamp); err == nil && bytes.Equal(have, lock) {
		return nil
	}
	npm := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = web
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return os.WriteFile(stamp, lock, 0o644)
}

// copied are the files of src that are not bundled.
var copied = []string{"icon.svg", "icon-192.png", "icon-512.png", "manifest.webmanifest"}

// bundle returns the app's files, by their paths in dist. It writes nothing.
func bundle(web string) (map[string][]byte, error) {
	root, err := filepath.Abs(web)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	workers, err := build(root, files, api.BuildOptions{
		EntryPoints: []string{"src/renderer.ts", "src/sync/searcher.ts"},
		EntryNames:  "assets/[name]-[hash]",
		Format:      api.FormatIIFE,
		Conditions:  []string{"worker"}, // packages that want a document elsewhere do without
	})
	if err != nil {
		return nil, err
	}
	scripts := map[string]string{}
	for name, out := range workers.Outputs {
		scripts[out.EntryPoint] = fmt.Sprintf("%q", strings.TrimPrefix(name, "dist"))
	}
	app, err := build(root, files, api.BuildOptions{
		EntryPoints: []string{"src/main.tsx", "src/app.css"},
		EntryNames:  "assets/[name]-[hash]",
		ChunkNames:  "assets/[name]-[hash]",
		Format:      api.FormatESModule,
		Splitting:   true,
		Define: map[string]string{
			"__RENDERER__": scripts["src/renderer.ts"],
			"__SEARCHER__": scripts["src/sync/searcher.ts"],
		},
	})
	if err != nil {
		return nil, err
	}
	if files["index.html"], err = index(root, app); err != nil {
		return nil, err
	}
	for _, name := range copied {
		if files[name], err = os.ReadFile(filepath.Join(root, "src", name)); err != nil {
			return nil, err
		}
	}
	// The service worker keeps these files, and is another one whenever one of them is.
	kept, err := json.Marshal(slices.Sorted(maps.Keys(files)))
	if err != nil {
		return nil, err
	}
	worker, err := build(root, files, api.BuildOptions{
		EntryPoints: []string{"src/sw.ts"},
		EntryNames:  "[name]",
		Format:      api.FormatIIFE,
		Define:      map[string]string{"__FILES__": string(kept), "__VERSION__": `"` + version(files) + `"`},
	})
	if err != nil {
		return nil, err
	}
	files["licenses.txt"], err = licenses(root, app, workers, worker)
	return files, err
}

// version returns a name for the contents of files.
func version(files map[string][]byte) string {
	hash := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(hash, "%s %d\n", name, len(files[name]))
		hash.Write(files[name])
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// metafile is what esbuild says of a build, as far as it is read here.
type metafile struct {
	Outputs map[string]struct {
		EntryPoint string `json:"entryPoint"`
		Imports    []struct{ Path, Kind string }
		Inputs     map[string]struct {
			Bytes int `json:"bytesInOutput"`
		} `json:"inputs"`
	} `json:"outputs"`
}

// build runs esbuild in the directory root and adds what it makes to files.
func build(root string, files map[string][]byte, options api.BuildOptions) (meta metafile, err error) {
	options.AbsWorkingDir, options.Outdir, options.Outbase = root, "dist", "src"
	options.Bundle, options.Metafile, options.Charset = true, true, api.CharsetUTF8
	options.MinifyIdentifiers, options.MinifySyntax, options.MinifyWhitespace = true, true, true
	options.LegalComments = api.LegalCommentsEndOfFile
	options.Target = api.ES2022
	options.JSX, options.JSXImportSource = api.JSXAutomatic, "preact"
	options.LogLevel = api.LogLevelSilent
	result := api.Build(options)
	for _, m := range slices.Concat(result.Errors, result.Warnings) {
		at := ""
		if m.Location != nil {
			at = fmt.Sprintf("%s:%d: ", m.Location.File, m.Location.Line)
		}
		err = errors.Join(err, errors.New(at+m.Text))
	}
	if err != nil {
		return meta, err
	}
	for _, f := range result.OutputFiles {
		name, err := filepath.Rel(filepath.Join(root, "dist"), f.Path)
		if err != nil {
			return meta, err
		}
		files[filepath.ToSlash(name)] = f.Contents
	}
	return meta, json.Unmarshal([]byte(result.Metafile), &meta)
}

// index returns the page, with the names of the app's script and style, and of what the script
// imports at once.
func index(root string, app metafile) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(root, "src", "index.html"))
	if err != nil {
		return nil, err
	}
	var tags strings.Builder
	for _, name := range slices.Sorted(maps.Keys(app.Outputs)) {
		url := strings.TrimPrefix(name, "dist")
		switch out := app.Outputs[name]; out.EntryPoint {
		case "src/app.css":
			fmt.Fprintf(&tags, "<link rel=\"stylesheet\" href=%q>\n", url)
		case "src/main.tsx":
			for _, i := range out.Imports {
				if i.Kind == "import-statement" {
					fmt.Fprintf(&tags, "<link rel=\"modulepreload\" href=%q>\n", strings.TrimPrefix(i.Path, "dist"))
				}
			}
			fmt.Fprintf(&tags, "<script type=\"module\" src=%q></script>\n", url)
		}
	}
	return bytes.Replace(text, []byte("<!-- assets -->\n"), []byte(tags.String()), 1), nil
}

// licenses returns the licences of the packages that are in the bundle.
func licenses(root string, builds ...metafile) ([]byte, error) {
	packages := map[string]bool{}
	for _, b := range builds {
		for _, out := range b.Outputs {
			for input, used := range out.Inputs {
				if name, ok := packageOf(input); ok && used.Bytes > 0 {
					packages[name] = true
				}
			}
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "notesd's web app contains these packages.\n")
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		dir := filepath.Join(root, "node_modules", filepath.FromSlash(name))
		manifest, err := os.ReadFile(filepath.Join(dir, "package.json"))
		if err != nil {
			return nil, err
		}
		var about struct{ Version, License string }
		if err := json.Unmarshal(manifest, &about); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		text, err := licenseOf(dir)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "\n%s\n%s %s (%s)\n\n%s\n", strings.Repeat("-", 72), name, about.Version, about.License,
			bytes.TrimSpace(text))
	}
	return out.Bytes(), nil
}

// licenseOf returns the text of the licence in a package's directory.
func licenseOf(dir string) ([]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if name := strings.ToLower(e.Name()); strings.HasPrefix(name, "licen") && !e.IsDir() {
			return os.ReadFile(filepath.Join(dir, e.Name()))
		}
	}
	return nil, fmt.Errorf("%s has no licence", dir)
}

// packageOf returns the name of the npm package that the input file is of.
func packageOf(input string) (name string, ok bool) {
	_, rest, ok := strings.Cut(input, "node_modules/")
	if !ok {
		return "", false
	}
	parts := strings.SplitN(rest, "/", 3)
	if strings.HasPrefix(rest, "@") {
		return path.Join(parts[0], parts[1]), true
	}
	return parts[0], true
}
