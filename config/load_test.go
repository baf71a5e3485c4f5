package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// write puts a configuration file into a temporary folder.
func write(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "restored.yaml")
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDefaultsAreValid(t *testing.T) {
	cfg, origins, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(*cfg, want) {
		t.Errorf("Load without anything = %+v\nwant the defaults %+v", *cfg, want)
	}
	for key, origin := range origins {
		if origin != "default" {
			t.Errorf("origin of %s = %q, want default", key, origin)
		}
	}
	for _, empty := range []string{"", "\n", "# nothing\n", "---\n", "watch:\nrestore:\n"} {
		if cfg, _, err = Load(write(t, empty), nil); err != nil {
			t.Errorf("file %q: %v", empty, err)
		} else if !reflect.DeepEqual(*cfg, Default()) {
			t.Errorf("file %q is not the defaults: %+v", empty, *cfg)
		}
	}
}

func TestDesignKeys(t *testing.T) {
	// The keys that scripts rely on, as DESIGN.md gives them.
	cfg, _, err := Load(write(t, `
watch:
  - {in: /srv/restored/in, out: /srv/restored/out, originals: keep}
  - {in: /b, out: /c}
state: /var/lib/other
http: {listen: ""}
queue: {url: ""}
restore: {model: other, provider: cpu, steps: 4, blend: 0.75}
detect: {min_face: 60, every: 4, rotations: false}
settle: {quiet: 3s}
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Watch = []Watch{
		{In: "/srv/restored/in", Out: "/srv/restored/out", Originals: "keep", Recursive: true},
		{In: "/b", Out: "/c", Originals: "keep", Recursive: true},
	}
	want.State = "/var/lib/other"
	want.Restore = Restore{Model: "other", Provider: "cpu", Steps: 4, Blend: 0.75, SharpBelow: 0.5}
	want.Detect.MinFace, want.Detect.Every, want.Detect.Rotations = 60, 4, false
	want.Settle.Quiet = 3 * time.Second
	if !reflect.DeepEqual(*cfg, want) {
		t.Errorf("got  %+v\nwant %+v", *cfg, want)
	}
}

func TestLayers(t *testing.T) {
	file := write(t, "restore: {model: from-file, blend: 0.1}\nworkers: 1\nphoto: {provenance: false}\n")
	t.Setenv("RESTORED_RESTORE_MODEL", "from-env")
	t.Setenv("RESTORED_WORKERS", "2")
	t.Setenv("RESTORED_DETECT_ROTATIONS", "false")
	t.Setenv("RESTORED_PATHS_MODELS", "")
	cfg, origins, err := Load(file, map[string]string{"workers": "3", "settle.quiet": "1s"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ key, value, origin string }{
		{"restore.model", "from-env", "environment RESTORED_RESTORE_MODEL"},
		{"restore.blend", "0.1", "file " + file + ":1"},
		{"workers", "3", "flag"},
		{"settle.quiet", "1s", "flag"},
		{"photo.provenance", "false", "file " + file + ":3"},
		{"detect.rotations", "false", "environment RESTORED_DETECT_ROTATIONS"},
		{"detect.min_face", "40", "default"},
		{"paths.models", `""`, "environment RESTORED_PATHS_MODELS"},
	} {
		if got, _ := cfg.Value(c.key); got != c.value || origins[c.key] != c.origin {
			t.Errorf("%s = %s (%s), want %s (%s)", c.key, got, origins[c.key], c.value, c.origin)
		}
	}
}

// TestBadFiles loads each testdata/*.bad.yaml. Its first lines, "# error: …",
// are texts that the error must contain, without the lines of values.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("testdata: %d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = Load(file, nil)
			if err == nil {
				t.Fatal("accepted")
			}
			found := 0
			for line := range strings.SplitSeq(string(data), "\n") {
				want, ok := strings.CutPrefix(line, "# error: ")
				if !ok {
					break
				}
				found++
				if !strings.Contains(withoutLines.ReplaceAllString(err.Error(), "$1"), want) {
					t.Errorf("error lacks %q; it is:\n%v", want, err)
				}
			}
			if got := strings.Count(err.Error(), "\n") + 1; found == 0 || got != found {
				t.Errorf("%d problems reported, %d expected:\n%v", got, found, err)
			}
		})
	}
}

var withoutLines = regexp.MustCompile(`(\(file [^():]+):\d+`)

// A refused value is told with the line that sets it, or the entry it belongs to.
func TestOriginsHaveLines(t *testing.T) {
	file := write(t, "# first\nwatch:\n  - in: /a\n    out: /b\n  - in: /c\n    out: /d\nrestore:\n  blend: 0.5\n")
	_, origins, err := Load(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, line := range map[string]string{"watch": "2", "watch[0]": "3", "watch[1].out": "6", "restore.blend": "8"} {
		if want := "file " + file + ":" + line; origins[key] != want {
			t.Errorf("origin of %s = %q, want %q", key, origins[key], want)
		}
	}
	file = write(t, "workers: 1\nwatch:\n  - in: /a\nrestore:\n  blend: 5\n")
	_, _, err = Load(file, nil)
	for _, want := range []string{"watch[0].out = \"\" (file " + file + ":3)", "restore.blend = 5 (file " + file + ":5)"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestBadEnvironmentAndFlags(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"RESTORED_RESTORE_MODEEL", "x", "RESTORED_RESTORE_MODEEL (environment): no such setting; did you mean RESTORED_RESTORE_MODEL?"},
		{"RESTORED_WATCH", "x", "are set in the file"},
		{"RESTORED_WORKERS", "many", `workers = "many" (environment RESTORED_WORKERS): must be a whole number`},
		{"RESTORED_WORKERS", "", `workers = "" (environment RESTORED_WORKERS): must be a whole number`},
		{"RESTORED_RESTORE_BLEND", "NaN", "must be a number"},
		{"RESTORED_RESTORE_BLEND", "2", "restore.blend = 2 (environment RESTORED_RESTORE_BLEND): must be from 0 to 1"},
		{"RESTORED_PHOTO_PROVENANCE", "yes", "must be true or false"},
		{"RESTORED_DETECT_ROTATIONS", "5;6", "must be true or false"},
	} {
		t.Run(c.name+"="+c.value, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			_, _, err := Load("", nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	_, _, err := Load("", map[string]string{"restore.provder": "cpu", "workers": "-1"})
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "restore.provder (flag): unknown key; did you mean restore.provider?") {
		t.Errorf("misspelt flag: %v", err)
	}
	if _, _, err = Load("testdata/none.yaml", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// TestSampleIsTheDefaults reads the sample that is shipped: it must set every
// key to its default and explain it in the words of the reference.
func TestSampleIsTheDefaults(t *testing.T) {
	const sample = "../systemd/restored.yaml"
	cfg, origins, err := Load(sample, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*cfg, Default()) {
		t.Errorf("the sample is %+v\nthe defaults %+v", *cfg, Default())
	}
	data, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	collect("", doc.Content[0], comments)
	for _, o := range Reference() {
		if !strings.HasPrefix(origins[o.Key], "file ") {
			t.Errorf("%s is not in the sample", o.Key)
		}
		if comments[o.Key] != o.Doc {
			t.Errorf("%s: the sample says %q, the reference %q", o.Key, comments[o.Key], o.Doc)
		}
	}
	sampleWatch(t, string(data))
}

// sampleWatch checks the commented example of a watched folder in the same way.
func sampleWatch(t *testing.T, sample string) {
	_, example, ok := strings.Cut(sample, "\n# watch:\n")
	if !ok {
		t.Fatal("the sample lacks the commented example of a watched folder")
	}
	example, _, _ = strings.Cut(example, "\n\n")
	lines := strings.Split(example, "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(lines[i], "#")
	}
	text := "watch:\n" + strings.Join(lines, "\n") + "\n"
	cfg, origins, err := Load(write(t, text), nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	want := defaultWatch()
	want.In, want.Out = "/srv/restored/in", "/srv/restored/out"
	for _, o := range watchOptions {
		if got := format(o.value(&cfg.Watch[0])); got != format(o.value(&want)) {
			t.Errorf("the example's %s is %s", o.name, got)
		}
		if origins["watch[0]."+o.name] == "" {
			t.Errorf("the example lacks %s", o.name)
		}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	collect("", doc.Content[0].Content[1].Content[0], comments)
	for _, o := range WatchReference() {
		if o.Key != "in" && comments[o.Key] != o.Doc {
			t.Errorf("watch, %s: the sample says %q, the reference %q", o.Key, comments[o.Key], o.Doc)
		}
	}
}

// collect gathers the comment above each key, as one line.
func collect(prefix string, n *yaml.Node, comments map[string]string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		if value.Kind == yaml.MappingNode {
			collect(prefix+name.Value+".", value, comments)
			continue
		}
		var words []string
		for line := range strings.SplitSeq(name.HeadComment, "\n") {
			words = append(words, strings.Fields(strings.TrimPrefix(line, "#"))...)
		}
		comments[prefix+name.Value] = strings.Join(words, " ")
	}
}

func TestReferenceIsComplete(t *testing.T) {
	// Every field of Config is reachable by a key: as many leaves as options.
	leaves := 0
	var count func(reflect.Type)
	count = func(typ reflect.Type) {
		for i := range typ.NumField() {
			if f := typ.Field(i); f.Name == "Watch" || f.Name == "Profiles" {
				continue
			} else if f.Type.Kind() == reflect.Struct {
				count(f.Type)
			} else {
				leaves++
			}
		}
	}
	count(reflect.TypeFor[Config]())
	var keys []string
	for _, o := range Reference() {
		keys = append(keys, o.Key)
		if o.Doc == "" {
			t.Errorf("%s has no documentation", o.Key)
		}
	}
	slices.Sort(keys)
	if n := len(slices.Compact(keys)); n != leaves {
		t.Errorf("%d keys for %d fields", n, leaves)
	}
}

func TestSuggest(t *testing.T) {
	names := []string{"restore.model", "restore.blend", "watch"}
	for _, c := range []struct{ wrong, want string }{
		{"restore.modle", "; did you mean restore.model?"},
		{"restor.blend", "; did you mean restore.blend?"},
		{"wacth", "; did you mean watch?"},
		{"frobnicate", ""},
		{"", ""},
	} {
		if got := suggest(c.wrong, names); got != c.want {
			t.Errorf("suggest(%q) = %q, want %q", c.wrong, got, c.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range append(files, "../systemd/restored.yaml") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(dir, "fuzz.yaml")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, _, err := Load(file, nil)
		if err == nil && cfg.Validate() != nil {
			t.Errorf("Load accepted what Validate refuses: %v", cfg.Validate())
		}
	})
}
