package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	testscript.Main(m, map[string]func(){"restored": main})
}

// deps is the folder that setup/setup.sh fills.
func deps(t testing.TB) string {
	dir, err := filepath.Abs("../../.deps")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestScripts runs the commands as a user does: the scripts in testdata say
// what is typed and what is expected.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"aligned": aligned},
		Setup: func(env *testscript.Env) error {
			d := deps(t)
			env.Setenv("SAMPLES", filepath.Join(d, "samples"))
			env.Setenv("RESTORED_PATHS_LIBRARIES", filepath.Join(d, "onnxruntime"))
			env.Setenv("RESTORED_PATHS_MODELS", filepath.Join(d, "models"))
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("NETWORKS", filepath.Join(filepath.Dir(d), "restore", "testdata"))
			env.Setenv("SERVER", modelServer(env, filepath.Join(filepath.Dir(d), "restore", "testdata")))
			return samplePhotos(d, env.WorkDir)
		},
	})
}

// aligned checks that the transforms of a landmarks.csv hardly move a thing: its
// crops were made from crops.
func aligned(ts *testscript.TestScript, neg bool, args []string) {
	rows, err := csv.NewReader(strings.NewReader(ts.ReadFile(args[0]))).ReadAll()
	ts.Check(err)
	if neg || len(rows) < 2 {
		ts.Fatalf("aligned: %d rows", len(rows))
	}
	for _, row := range rows[1:] {
		var m [4]float64 // a, b, tx, ty
		for i, text := range row[len(row)-4:] {
			m[i], err = strconv.ParseFloat(text, 64)
			ts.Check(err)
		}
		for _, p := range [][2]float64{{193, 240}, {319, 240}, {256, 371}} {
			dx, dy := m[0]*p[0]-m[1]*p[1]+m[2]-p[0], m[1]*p[0]+m[0]*p[1]+m[3]-p[1]
			if math.Hypot(dx, dy) > 10 {
				ts.Fatalf("%s: %v moves by %.1f, %.1f", row[0], p, dx, dy)
			}
		}
	}
}

// samplePhotos puts these into dir/in: a photo whose face is degraded, one
// without a face, and the first in two damaged forms.
func samplePhotos(deps, dir string) error {
	in := filepath.Join(dir, "in")
	if err := os.MkdirAll(filepath.Join(in, "sub"), 0o755); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(deps, "samples", "obama.jpg"))
	if err != nil {
		return err
	}
	defer f.Close()
	clear, err := jpeg.Decode(f)
	if err != nil {
		return err
	}
	var face bytes.Buffer
	if err := jpeg.Encode(&face, shrink(clear, 4), &jpeg.Options{Quality: 60}); err != nil {
		return err
	}
	flat := image.NewNRGBA(image.Rect(0, 0, 300, 200))
	for i := range flat.Pix {
		flat.Pix[i] = 0xc0
	}
	flat.Set(10, 10, color.Black)
	var noFace bytes.Buffer
	if err := png.Encode(&noFace, flat); err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"face.jpg":       face.Bytes(),
		"sub/noface.png": noFace.Bytes(),
		"cut.jpg":        face.Bytes()[:face.Len()/2],
		"text.jpg":       []byte("not a photo\n"),
		"notes.txt":      []byte("left alone\n"),
	} {
		if err := os.WriteFile(filepath.Join(in, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// shrink averages k×k pixels.
func shrink(img image.Image, k int) *image.NRGBA {
	b := img.Bounds()
	out := image.NewNRGBA(image.Rect(0, 0, b.Dx()/k, b.Dy()/k))
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			var r, g, bl uint32
			for j := range k * k {
				cr, cg, cb, _ := img.At(b.Min.X+x*k+j%k, b.Min.Y+y*k+j/k).RGBA()
				r, g, bl = r+cr>>8, g+cg>>8, bl+cb>>8
			}
			n := uint32(k * k)
			out.SetNRGBA(x, y, color.NRGBA{uint8(r / n), uint8(g / n), uint8(bl / n), 255})
		}
	}
	return out
}

func TestFindAssets(t *testing.T) {
	lib, models := t.TempDir(), t.TempDir()
	for _, f := range []string{filepath.Join(lib, "libonnxruntime.so.1"), filepath.Join(lib, "libonnxruntime.so.2"), filepath.Join(models, "a.dat")} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, err := findAssets(lib, models)
	if err != nil || a.onnxruntime != filepath.Join(lib, "libonnxruntime.so.2") || a.models != models {
		t.Errorf("found %+v, %v", a, err)
	}
	_, err = findAssets(models, lib)
	if err == nil || !strings.Contains(err.Error(), "paths.libraries") || !strings.Contains(err.Error(), "paths.models") {
		t.Errorf("error %v names not both settings", err)
	}
}

// A stopped command ends with 130 and leaves nothing half done.
func TestInterrupted(t *testing.T) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGUSR1)
	defer stop()
	dir := t.TempDir()
	if err := samplePhotos(deps(t), dir); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	t.Setenv("RESTORED_PATHS_LIBRARIES", filepath.Join(deps(t), "onnxruntime"))
	t.Setenv("RESTORED_PATHS_MODELS", filepath.Join(deps(t), "models"))
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	var stdout, stderr bytes.Buffer
	code := execute(ctx, []string{"run", "--out", filepath.Join(dir, "out"), filepath.Join(dir, "in")}, &stdout, &stderr)
	if code != exitInterrupted {
		t.Errorf("exit code %d, want %d; stderr %s", code, exitInterrupted, &stderr)
	}
	left, err := filepath.Glob(filepath.Join(dir, "out", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind %q, %v", left, err)
	}
}

func TestExitCodes(t *testing.T) {
	t.Setenv("RESTORED_PATHS_LIBRARIES", filepath.Join(deps(t), "onnxruntime"))
	t.Setenv("RESTORED_PATHS_MODELS", filepath.Join(deps(t), "models"))
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	text := filepath.Join(dir, "in", "text.jpg")
	touch(t, text)
	out := filepath.Join(dir, "out")
	for _, test := range []struct {
		want int
		args []string
	}{
		{exitOK, []string{"--help"}},
		{exitFailed, []string{"run", "--out", out, text}},
		{exitUsage, []string{"run", "--out", out}},
		{exitUsage, []string{"run", text}},
		{exitUsage, []string{"run", "--no-such-flag"}},
		{exitUsage, []string{"no-such-command"}},
		{exitUsage, []string{"serve"}},
		{exitUsage, []string{"run", "--out", out, "--steps", "many", text}},
		{exitUsage, []string{"serve", "--config", filepath.Join(dir, "missing.yaml")}},
		{exitSetup, []string{"run", "--out", out, "--model", "missing", text}},
		{exitSetup, []string{"run", "--out", out, "--provider", "tensorrt", text}},
	} {
		var stdout, stderr bytes.Buffer
		if got := execute(t.Context(), test.args, &stdout, &stderr); got != test.want {
			t.Errorf("restored %q ends with %d, want %d: %s", test.args, got, test.want, &stderr)
		}
	}
}
