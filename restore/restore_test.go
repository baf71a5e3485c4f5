package restore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// deps is the folder that setup/setup.sh fills.
func deps() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return filepath.Join(filepath.Dir(dir), ".deps")
}

func TestMain(m *testing.M) {
	libs, err := filepath.Glob(filepath.Join(deps(), "onnxruntime", "libonnxruntime.so*"))
	if err != nil || len(libs) == 0 {
		fmt.Fprintln(os.Stderr, "ONNX Runtime isn't there: run `make setup`")
		os.Exit(1)
	}
	if err := Startup(libs[0]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func open(t *testing.T, name string) *Session {
	t.Helper()
	m, err := FindModel(name, "testdata")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(m, Options{Provider: "cpu", Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// constant is a face of one colour.
func constant(size int, r, g, b float32) []float32 {
	out := make([]float32, 3*size*size)
	for i, v := range []float32{r, g, b} {
		for k := range size * size {
			out[i*size*size+k] = v
		}
	}
	return out
}

func near(t *testing.T, what string, got []float32, size int, r, g, b float64, tolerance float64) {
	t.Helper()
	for c, want := range []float64{r, g, b} {
		for _, v := range got[c*size*size : (c+1)*size*size] {
			if math.Abs(float64(v)-want) > tolerance {
				t.Fatalf("%s: channel %d is %g, want %g ± %g", what, c, v, want, tolerance)
			}
		}
	}
}

func TestFamilies(t *testing.T) {
	for _, test := range []struct {
		file, family, template, output string
		size                           int
		factor                         float64 // output = factor · input in the network's range
	}{
		{"gfpgan", "gfpgan", "ffhq_512", "output", 512, -1},
		{"gfpgan_1288", "gfpgan", "ffhq_512", "1288", 512, -1},
		{"restoreformer", "restoreformer", "ffhq_512", "2359", 512, -1},
		{"gpen_256", "gpen", "arcface_128", "output", 256, -1},
		{"gpen_1024", "gpen", "ffhq_512", "output", 1024, -1},
		{"gpen_2048", "gpen", "ffhq_512", "output", 2048, -1},
		{"codeformer", "codeformer", "ffhq_512", "y", 512, 0.5},
		{"codeformer_weight", "codeformer", "ffhq_512", "output", 512, 0.5},
		{"vqfr", "vqfr", "ffhq_512", "main_dec", 512, 0},
	} {
		t.Run(test.file, func(t *testing.T) {
			s := open(t, test.file)
			spec := s.Spec()
			if spec.Family != test.family || spec.Size != test.size || spec.Template != test.template || spec.Output != test.output {
				t.Fatalf("matched %+v", spec)
			}
			out, err := s.Restore(t.Context(), []Face{{Image: constant(test.size, 0.1, 0.5, 0.8)}})
			if err != nil {
				t.Fatal(err)
			}
			want := func(v float64) float64 { return (test.factor*(2*v-1) + 1) / 2 }
			near(t, test.file, out[0], test.size, want(0.1), want(0.5), want(0.8), 1e-6)
		})
	}
}

func TestHalfPrecisionAndColourOrder(t *testing.T) {
	s := open(t, "half_bgr")
	out, err := s.Restore(t.Context(), []Face{
		{Image: constant(32, 0.25, 0.5, 0.125)},
		{Image: constant(32, 0, 0, 0.9)},
	})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "first", out[0], 32, 0.25, 0.5, 0.375, 0)
	near(t, "second, clipped", out[1], 32, 0, 0, 1, 0)
}

func TestNoiseAndSteps(t *testing.T) {
	s := open(t, "noise_steps")
	if !s.TakesSteps() {
		t.Fatal("it takes steps")
	}
	run := func(steps int, seed uint64) float64 {
		out, err := s.Restore(t.Context(), []Face{{Image: make([]float32, 3*32*32), Steps: steps, Seed: seed}})
		if err != nil {
			t.Fatal(err)
		}
		return 2*float64(out[0][0]) - 1 // mean(noise) + steps/10
	}
	zero := run(0, 1)
	if math.Abs(zero) > 4/math.Sqrt(16*16*16) {
		t.Errorf("mean of the noise is %g: not N(0,1)", zero)
	}
	if run(0, 1) != zero {
		t.Error("the same seed gives another noise")
	}
	if run(0, 2) == zero {
		t.Error("another seed gives the same noise")
	}
	for steps, want := range map[int]float64{3: 0.3, 8: 0.8, 100: 0.8, -5: 0} {
		if got := run(steps, 1) - zero; math.Abs(got-want) > 1e-6 {
			t.Errorf("%d steps arrive as %g, want %g", steps, 10*got, 10*want)
		}
	}
}

func TestFaultyModels(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "garbage.onnx"), []byte("not a network"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"testdata/bad_spec.onnx":             "size 7 isn't in 16..4096",
		"testdata/unknown.onnx":              "fit no known family",
		filepath.Join(dir, "garbage.onnx"):   "not a readable ONNX file",
		filepath.Join(dir, "missing.onnx"):   "no such file",
		filepath.Join(dir, "folder-as-name"): "no such file",
	} {
		m, err := FindModel(file, dir)
		if err == nil {
			_, err = Open(m, Options{Provider: "cpu"})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", file, err, want)
		}
	}
}

func TestNotANumberIsAnError(t *testing.T) {
	_, err := open(t, "nan").Restore(t.Context(), []Face{{Image: constant(32, 0.1, 0.2, 0.3)}})
	if err == nil || !strings.Contains(err.Error(), "isn't a number") {
		t.Fatalf("error %v", err)
	}
}

func TestWrongSizeIsAnError(t *testing.T) {
	_, err := open(t, "half_bgr").Restore(t.Context(), []Face{{Image: make([]float32, 12)}})
	if err == nil || !strings.Contains(err.Error(), "want 3×32×32") {
		t.Fatalf("error %v", err)
	}
}

func TestCancelStopsNativeWork(t *testing.T) {
	s := open(t, "endless")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := s.Restore(ctx, []Face{{Image: make([]float32, 3*32*32)}})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v to stop", took)
	}
}

func TestProviders(t *testing.T) {
	m, err := FindModel("noise_steps", "testdata")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(m, Options{Provider: "abacus"}); err == nil || !strings.Contains(err.Error(), "want one of auto, cuda") {
		t.Errorf("unknown provider: %v", err)
	}
	for _, provider := range []string{"cuda", "tensorrt"} {
		_, err := Open(m, Options{Provider: provider})
		var pe *ProviderError
		switch {
		case err == nil: // this machine has one
		case !errors.As(err, &pe) || !strings.Contains(err.Error(), "libonnxruntime_providers_"+provider+".so"):
			t.Errorf("%s: error %v doesn't name the missing library", provider, err)
		}
	}
	s, err := Open(m, Options{Provider: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if s.Provider() == "cpu" && s.Fallback() == nil {
		t.Error("auto fell back to the CPU without saying why")
	}
}

// The check that a provider really runs is the same for the CPU, which is
// always there, as for a GPU.
func TestReallyRuns(t *testing.T) {
	m, err := FindModel("noise_steps", "testdata")
	if err != nil {
		t.Fatal(err)
	}
	p, err := inspect(m)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := readSpec(m, p)
	if err != nil {
		t.Fatal(err)
	}
	if err := reallyRuns(m, spec, p, "cpu", Options{}); err != nil {
		t.Error(err)
	}
	profile := filepath.Join(t.TempDir(), "p.json")
	text := `[{"cat":"Session","dur":9},{"cat":"Node","dur":1,"args":{"provider":"CUDAExecutionProvider"}},{"cat":"Node","dur":3,"args":{"provider":"CPUExecutionProvider"}}]`
	if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	share, err := profileShare(profile, "CUDAExecutionProvider")
	if err != nil || share != 0.25 {
		t.Errorf("share %g, %v; want 0.25", share, err)
	}
}

func TestHalf(t *testing.T) {
	for h := range 1 << 16 {
		f := fromHalf(uint16(h))
		if f != f {
			if back := toHalf(f); back&0x7c00 != 0x7c00 || back&0x3ff == 0 {
				t.Fatalf("%#04x: not a number became %#04x", h, back)
			}
			continue
		}
		if back := toHalf(f); back != uint16(h) {
			t.Fatalf("%#04x → %g → %#04x", h, f, back)
		}
	}
	for f, want := range map[float32]uint16{65519: 0x7bff, 65520: 0x7c00, 1 + 1.0/2048: 0x3c00, 1 + 3.0/2048: 0x3c02, 1e-10: 0} {
		if got := toHalf(f); got != want {
			t.Errorf("toHalf(%g) = %#04x, want %#04x", f, got, want)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	f.Add(`{"family":"x","size":512,"template":"ffhq_512","range":[-1,1],"colour_order":"RGB"}`)
	f.Add(`{"size":1e99}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSpec(text)
		if err == nil && s.validate() != nil {
			t.Fatalf("accepted an invalid Spec %+v", s)
		}
	})
}
