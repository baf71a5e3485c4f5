package restore

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRegistry(t *testing.T) {
	all := Registry()
	if len(all) < 10 || all[0].Name != DefaultModel || !all[0].BuiltIn || all[1].Name != SmallModel || !all[1].BuiltIn {
		t.Fatalf("%d entries, the first are %+v", len(all), all[:2])
	}
	for _, e := range all[2:] {
		if e.BuiltIn || len(e.SHA256) != 64 {
			t.Errorf("%+v", e)
		}
		if strings.Contains(e.Licence, "non-commercial") && e.Terms == "" {
			t.Errorf("%s is non-commercial and asks for nothing", e.Name)
		}
	}
	for _, test := range []struct{ name, want string }{
		{"codeformer", "S-Lab"}, {"gpen-2048", "non-commercial"}, {"restoreformer++", "Apache-2.0"},
	} {
		if e, ok := Known(test.name); !ok || !strings.Contains(e.Licence, test.want) {
			t.Errorf("%s: %+v", test.name, e)
		}
	}
	if _, ok := Known("nothing"); ok {
		t.Error("an entry of no name")
	}
}

func TestBadRegistries(t *testing.T) {
	good := `"name":"a","family":"gfpgan","title":"","size":512,"licence":"x","sha256":"` + strings.Repeat("0", 64) + `","urls":["https://h/a"]`
	for _, test := range []struct{ text, want string }{
		{`[{` + good + `}]`, ""},
		{`[{` + good + `},{` + good + `}]`, "named twice"},
		{`[{` + good + `,"sise":1}]`, "unknown field"},
		{`[{` + good + `}] []`, "more than one"},
		{`[{` + strings.Replace(good, `"a"`, `"../a"`, 1) + `}]`, "can't name a model"},
		{`[{` + strings.Replace(good, "https", "http", 1) + `}]`, "isn't an https address"},
		{`[{` + strings.Replace(good, "gfpgan", "other", 1) + `}]`, "no family"},
		{`[{` + strings.Replace(good, "00", "0", 1) + `}]`, "64 hexadecimal"},
		{`[{"name":"a"}]`, "no licence"},
		{`{`, "registry of models"},
	} {
		_, err := parseRegistry([]byte(test.text))
		if test.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.text, err, test.want)
		}
	}
}

// copyModel puts a network of testdata into a folder of its own, with a
// sidecar unless it is nil.
func copyModel(t *testing.T, file string, side *Sidecar) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file+".onnx"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mine.onnx")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if side != nil {
		text, err := json.Marshal(side)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(SidecarPath(path), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func openPath(path string) (*Session, error) {
	m, err := FindModel(path, "")
	if err != nil {
		return nil, err
	}
	return Open(m, Options{Provider: "cpu", Threads: 1})
}

// A file of no known family runs by the Spec beside it, which Describe and
// Guess have made.
func TestSidecarSpec(t *testing.T) {
	if _, err := openPath(copyModel(t, "stranger", nil)); err == nil || !strings.Contains(err.Error(), "fit no known family") {
		t.Fatalf("without a Spec: %v", err)
	}
	m, err := FindModel("testdata/stranger.onnx", "")
	if err != nil {
		t.Fatal(err)
	}
	d, err := Describe(m)
	if err != nil || d.Spec != nil || d.Unknown == "" {
		t.Fatalf("%+v, %v", d, err)
	}
	hints := Hints{Inputs: map[string]float64{}}
	for _, in := range d.Inputs[1:] {
		hints.Inputs[in.Name] = 0.5
	}
	spec, notes, err := Guess(d, hints)
	if err != nil || len(notes) != 3 {
		t.Fatalf("%+v, %q, %v", spec, notes, err)
	}
	s, err := openPath(copyModel(t, "stranger", &Sidecar{Spec: spec}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Spec(); got.Family != "other" || got.Size != spec.Size {
		t.Errorf("Spec %+v", got)
	}
	face := constant(spec.Size, 0.1, 0.5, 0.8)
	if _, err := s.Restore(t.Context(), []Face{{Image: face}}); err != nil {
		t.Error(err)
	}
}

func TestGuessSaysWhatItCannotTell(t *testing.T) {
	image := func(name string, side int64) Port { return Port{name, "float", []int64{-1, 3, side, side}} }
	for _, test := range []struct {
		d    Description
		h    Hints
		want string
	}{
		{Description{Inputs: []Port{image("x", 64)}, Outputs: []Port{image("y", 64)}}, Hints{}, ""},
		{Description{Inputs: []Port{image("x", -1)}, Outputs: []Port{image("y", -1)}}, Hints{}, "--size"},
		{Description{Inputs: []Port{image("x", -1)}, Outputs: []Port{image("y", -1)}}, Hints{Size: 64}, ""},
		{Description{Inputs: []Port{image("x", 64), {"w", "double", []int64{1}}}, Outputs: []Port{image("y", 64)}}, Hints{}, "--input w=VALUE"},
		{Description{Inputs: []Port{image("x", 64), image("z", 64)}, Outputs: []Port{image("y", 64)}}, Hints{}, "--image-input"},
		{Description{Inputs: []Port{{"ids", "int64", []int64{1}}}, Outputs: []Port{image("y", 64)}}, Hints{}, "no input is an image"},
		{Description{Inputs: []Port{image("x", 64)}, Outputs: []Port{image("y", 64)}}, Hints{Output: "q"}, `no output "q"`},
		{Description{Inputs: []Port{image("x", 64)}, Outputs: []Port{image("y", 64)}}, Hints{Template: "q"}, "template"},
	} {
		_, _, err := Guess(test.d, test.h)
		if test.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v %+v: error %v, want %q", test.d, test.h, err, test.want)
		}
	}
}

// A sidecar without a Spec names the file; the inputs tell the rest.
func TestSidecarNames(t *testing.T) {
	s, err := openPath(copyModel(t, "gfpgan", &Sidecar{Spec: Spec{Family: "gpen", Name: "gpen-512", Licence: "x"}}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Spec(); got.Family != "gpen" || got.Name != "gpen-512" || got.Licence != "x" || got.Size != 512 {
		t.Errorf("Spec %+v", got)
	}
}

func TestSidecarOfAnotherFile(t *testing.T) {
	_, err := openPath(copyModel(t, "gfpgan", &Sidecar{Spec: Spec{SHA256: strings.Repeat("0", 64)}}))
	if err == nil || !strings.Contains(err.Error(), "is of another file") {
		t.Errorf("error %v", err)
	}
	path := copyModel(t, "gfpgan", nil)
	if err := os.WriteFile(SidecarPath(path), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openPath(path); err == nil || !strings.Contains(err.Error(), "mine.json") {
		t.Errorf("a damaged sidecar: %v", err)
	}
}

// A model with terms runs only where they were accepted.
func TestLicenceGate(t *testing.T) {
	side := Sidecar{Spec: Spec{Licence: "S-Lab"}, Terms: "Not for sale."}
	_, err := openPath(copyModel(t, "gfpgan", &side))
	var refused *LicenceError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "Not for sale.") || !strings.Contains(err.Error(), "--accept-licence") {
		t.Fatalf("error %v", err)
	}
	side.Accepted = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s, err := openPath(copyModel(t, "gfpgan", &side))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	known := Model{Name: "x", SHA256: Registry()[2].SHA256} // codeformer's, put there by hand
	if err := checkLicence(known); !errors.As(err, &refused) {
		t.Errorf("a known file without a sidecar: %v", err)
	}
}

func FuzzRegistry(f *testing.F) {
	f.Add(registryFile)
	f.Add([]byte(`[{"name":"a","family":"gpen","urls":["https://"]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseRegistry(data)
		for _, e := range entries {
			if err == nil && e.validate() != nil {
				t.Errorf("accepted %+v", e)
			}
		}
	})
}

func FuzzSidecar(f *testing.F) {
	f.Add([]byte(`{"family":"x","size":512,"template":"ffhq_512","range":[-1,1],"colour_order":"RGB","licence_accepted":"2026-11-24T00:00:00Z"}`))
	f.Add([]byte(`{"terms":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSidecar(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			return // a Default that JSON can't hold
		}
		if _, err := ParseSidecar(again); err != nil {
			t.Errorf("what it wrote it doesn't read: %v", err)
		}
	})
}
