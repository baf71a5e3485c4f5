package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restored/detect"
	"restored/media"
	"restored/restore"
)

const deps = "../.deps"

var session *restore.Session

// TestMain loads the native libraries once: they are global to the process.
func TestMain(m *testing.M) {
	code, err := withNative(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withNative(run func() int) (code int, err error) {
	libs, err := filepath.Glob(filepath.Join(deps, "onnxruntime", "libonnxruntime.so*"))
	if err != nil || len(libs) == 0 {
		return 1, errors.New("ONNX Runtime isn't there: run `make setup`")
	}
	if err := restore.Startup(libs[0]); err != nil {
		return 1, err
	}
	model, err := restore.FindModel(restore.DefaultModel, "")
	if err != nil {
		return 1, err
	}
	if session, err = restore.Open(model, restore.Options{Provider: "cpu"}); err != nil {
		return 1, err
	}
	if err := media.Startup(2); err != nil {
		return 1, err
	}
	code = run()
	media.Shutdown()
	return code, errors.Join(session.Close(), restore.Shutdown())
}

func options() Options {
	return Options{
		Workers: 1, Detect: detect.Options{Models: filepath.Join(deps, "models"), MinFace: 40},
		Steps: AutoSteps, Blend: 1, SharpBelow: 0.5, Limit: 0.5, CopyNoFace: true, Provenance: true, MaxPixels: 1e8,
	}
}

func engine(t *testing.T, o Options) *Engine {
	t.Helper()
	e, err := New(session, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// fresh allows writing where nothing lies.
func fresh(context.Context, string) (bool, error) { return false, nil }

// blurred is the portrait of the fetched samples at a third of its size and
// brought back by linear interpolation, so that its face lacks about an octave
// and a half, in 16 bits.
func blurred(t *testing.T) *image.NRGBA64 {
	t.Helper()
	f, err := os.Open(filepath.Join(deps, "samples", "obama.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	src, err := jpeg.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	const k = 3
	w, h := src.Bounds().Dx()/k, src.Bounds().Dy()/k
	small := make([][3]float64, w*h)
	for y := range h * k {
		for x := range w * k {
			r, g, b, _ := src.At(x, y).RGBA()
			s := &small[y/k*w+x/k]
			s[0], s[1], s[2] = s[0]+float64(r)/(k*k), s[1]+float64(g)/(k*k), s[2]+float64(b)/(k*k)
		}
	}
	out := image.NewNRGBA64(image.Rect(0, 0, (w-1)*k, (h-1)*k))
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			p, fx, fy := y/k*w+x/k, float64(x%k)/k, float64(y%k)/k
			var c [3]uint16
			for i := range c {
				top := small[p][i]*(1-fx) + small[p+1][i]*fx
				bottom := small[p+w][i]*(1-fx) + small[p+w+1][i]*fx
				c[i] = uint16(top*(1-fy) + bottom*fy)
			}
			out.SetNRGBA64(x, y, color.NRGBA64{c[0], c[1], c[2], 0xffff})
		}
	}
	return out
}

// drawFace copies the portrait into an image of another type.
func drawFace(dst interface {
	image.Image
	Set(x, y int, c color.Color)
}, src image.Image) image.Image {
	for y := range src.Bounds().Dy() {
		for x := range src.Bounds().Dx() {
			dst.Set(x, y, src.At(x, y))
		}
	}
	return dst
}

func writePNG(t *testing.T, path string, img image.Image) {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readPNG(t *testing.T, path string) image.Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// Outside the rectangles that the report names nothing changes, at any depth,
// and inside something does.
func TestPhotoChangesOnlyFaces(t *testing.T) {
	e := engine(t, options())
	src := blurred(t)
	for name, img := range map[string]image.Image{
		"rgb16":  src,
		"rgb8":   drawFace(image.NewNRGBA(src.Rect), src),
		"gray16": drawFace(image.NewGray16(src.Rect), src),
		"gray8":  drawFace(image.NewGray(src.Rect), src),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in, out := filepath.Join(dir, "in.png"), filepath.Join(dir, "out", "in.png")
			writePNG(t, in, img)
			r, err := e.Photo(t.Context(), in, out, fresh)
			if err != nil {
				t.Fatal(err)
			}
			if r.Status != Restored || len(r.Faces) != 1 || r.Faces[0].Decision != FaceRestored || r.Output != out {
				t.Fatalf("report %+v", r)
			}
			f := r.Faces[0]
			if f.Degradation < 1 || f.Identity == nil || *f.Identity > 0.5 || f.Changed == nil {
				t.Errorf("face %+v", f)
			}
			before, after := readPNG(t, in), readPNG(t, out)
			if fmt.Sprintf("%T %v", before, before.Bounds()) != fmt.Sprintf("%T %v", after, after.Bounds()) {
				t.Fatalf("%T %v became %T %v", before, before.Bounds(), after, after.Bounds())
			}
			c := f.Changed
			changed := image.Rect(c.X, c.Y, c.X+c.Width, c.Y+c.Height)
			inside, outside := 0, 0
			for y := range before.Bounds().Dy() {
				for x := range before.Bounds().Dx() {
					if before.At(x, y) == after.At(x, y) {
						continue
					}
					if image.Pt(x, y).In(changed) {
						inside++
					} else {
						outside++
					}
				}
			}
			if outside != 0 || inside < 1000 {
				t.Errorf("%d pixels differ outside the face, want 0; %d inside, want thousands", outside, inside)
			}
		})
	}
}

// Each guard leaves the face, and the output is then the file itself.
func TestGuardsLeaveTheFile(t *testing.T) {
	in := filepath.Join(t.TempDir(), "in.png")
	src := blurred(t)
	writePNG(t, in, drawFace(image.NewNRGBA(src.Rect), src))
	original, err := os.ReadFile(in)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*Options)
		want   []Decision
	}{
		"sharp":     {func(o *Options) { o.SharpBelow = 5 }, []Decision{FaceSharp}},
		"identity":  {func(o *Options) { o.Limit = 1e-9 }, []Decision{FaceIdentity}},
		"small":     {func(o *Options) { o.Detect.MinFace = 300 }, []Decision{FaceSmall}},
		"tiny":      {func(o *Options) { o.Detect.MinFace = 600 }, nil}, // not even searched for
		"threshold": {func(o *Options) { o.Detect.Threshold = 4 }, []Decision{FaceUnsure}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			test.change(&o)
			out := filepath.Join(t.TempDir(), "out.png")
			r, err := engine(t, o).Photo(t.Context(), in, out, fresh)
			if err != nil {
				t.Fatal(err)
			}
			var got []Decision
			for _, f := range r.Faces {
				got = append(got, f.Decision)
				if f.Blend != 0 {
					t.Errorf("a face that was left has blend %g", f.Blend)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) || r.Status != Copied {
				t.Errorf("decisions %q, status %s; want %q, copied", got, r.Status, test.want)
			}
			copied, err := os.ReadFile(out)
			if err != nil || !bytes.Equal(copied, original) {
				t.Errorf("the output isn't the input: %v", err)
			}
		})
	}
}

// More faces than are held at a time are all restored.
func TestCrowd(t *testing.T) {
	const across, down, k = 7, 5, 4
	src := blurred(t)
	w, h := src.Rect.Dx()/k, src.Rect.Dy()/k
	crowd := image.NewNRGBA(image.Rect(0, 0, across*w, down*h))
	for y := range down * h {
		for x := range across * w {
			crowd.Set(x, y, src.At(x%w*k, y%h*k))
		}
	}
	in := filepath.Join(t.TempDir(), "in.png")
	writePNG(t, in, crowd)
	r, err := engine(t, options()).Photo(t.Context(), in, filepath.Join(t.TempDir(), "out.png"), fresh)
	if err != nil {
		t.Fatal(err)
	}
	restored := 0
	for _, f := range r.Faces {
		if f.Decision == FaceRestored && f.Changed != nil && f.Changed.Width > 0 {
			restored++
		}
	}
	if restored != across*down || restored <= maxPatches {
		t.Errorf("%d faces restored of %d found, want %d", restored, len(r.Faces), across*down)
	}
}

// Over the limit at full blend, a face is blended half before it is given up.
func TestIdentityLowersTheBlend(t *testing.T) {
	in := filepath.Join(t.TempDir(), "in.png")
	src := blurred(t)
	writePNG(t, in, drawFace(image.NewNRGBA(src.Rect), src))
	run := func(limit float64) Face {
		o := options()
		o.Limit = limit
		r, err := engine(t, o).Photo(t.Context(), in, filepath.Join(t.TempDir(), "o.png"), fresh)
		if err != nil {
			t.Fatal(err)
		}
		return r.Faces[0]
	}
	full := run(2)
	if full.Blend != 1 || *full.Identity != *full.IdentityFull {
		t.Fatalf("with a wide limit: %+v", full)
	}
	half := run(*full.Identity * 0.99)
	if half.Blend != 0.5 || half.Decision != FaceRestored || *half.Identity >= *half.IdentityFull || *half.IdentityFull != *full.Identity {
		t.Errorf("just under its distance %.4f: %+v", *full.Identity, half)
	}
}

func TestPhotoErrors(t *testing.T) {
	e := engine(t, options())
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.png"), filepath.Join(dir, "out.png")
	writePNG(t, in, blurred(t))
	refused := errors.New("refused")
	_, err := e.Photo(t.Context(), in, out, func(context.Context, string) (bool, error) { return false, refused })
	if !errors.Is(err, refused) || !strings.Contains(err.Error(), in) {
		t.Errorf("a refused claim: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Photo(ctx, in, out, fresh); !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancel: %v", err)
	}
	if _, err := e.Photo(t.Context(), filepath.Join(dir, "gone.png"), out, fresh); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(out, []byte("somebody else's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Photo(t.Context(), in, out, fresh); !errors.Is(err, media.ErrExists) {
		t.Errorf("an existing output: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("temporaries are left: %q %v", left, err)
	}
	o := options()
	o.Detect.Models = dir
	if _, err := New(session, o); err == nil || !strings.Contains(err.Error(), ".dat") {
		t.Errorf("missing models: %v doesn't name the file", err)
	}
}
