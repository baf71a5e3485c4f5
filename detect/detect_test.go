package detect

import (
	"context"
	"errors"
	"image"
	"image/color"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func detect(t testing.TB, d *Detector, img image.Image) []Face {
	t.Helper()
	faces, err := d.Detect(context.Background(), img)
	if err != nil {
		t.Fatal(err)
	}
	return faces
}

func TestSamples(t *testing.T) {
	d := detector(t, Options{})
	for _, c := range []struct {
		name  string
		at    image.Point // within the face
		score float64
		side  int
	}{
		{"obama.jpg", image.Pt(490, 280), 1.5, 273},
		{"biden.jpg", image.Pt(590, 370), 0.8, 327},
		{"astronaut.png", image.Pt(222, 122), 0.8, 91},
	} {
		img := sample(t, c.name)
		faces := detect(t, d, img)
		if len(faces) != 1 {
			t.Fatalf("%s: %d faces, want 1: %v", c.name, len(faces), faces)
		}
		f := faces[0]
		if !c.at.In(f.Box) || f.Score < c.score || f.Angle != 0 || f.Box.Dx() < c.side*4/5 || f.Box.Dx() > c.side*5/4 {
			t.Errorf("%s: %+v, want about %v, %d pixels, a score of %v", c.name, f, c.at, c.side, c.score)
		}
		for i, p := range f.Landmarks {
			if !image.Pt(int(p.X), int(p.Y)).In(f.Box) {
				t.Errorf("%s: landmark %d at %v is outside %v", c.name, i, p, f.Box)
			}
		}
		if l := f.Landmarks; l[0].X < l[1].X || l[1].X < l[3].X || l[3].X < l[2].X || l[4].Y < l[1].Y {
			t.Errorf("%s: landmarks out of order: %v", c.name, l)
		}
	}
}

// The four kinds of photo give the same faces.
func TestImageTypes(t *testing.T) {
	const tolerance = 0.5 // pixels; the rounding of gray photos differs
	d := detector(t, Options{})
	src := sample(t, "astronaut.png")
	want := detect(t, d, src)
	gray, gray16, deep := image.NewGray(src.Rect), image.NewGray16(src.Rect), image.NewNRGBA64(src.Rect)
	for y := range src.Rect.Dy() {
		for x := range src.Rect.Dx() {
			c := src.NRGBAAt(x, y)
			v := lumaR*float64(c.R) + lumaG*float64(c.G) + lumaB*float64(c.B)
			gray.SetGray(x, y, color.Gray{Y: uint8(v + 0.5)})
			gray16.SetGray16(x, y, color.Gray16{Y: uint16(v*257 + 0.5)})
			deep.SetNRGBA64(x, y, color.NRGBA64{R: uint16(c.R) * 257, G: uint16(c.G) * 257, B: uint16(c.B) * 257, A: 0xffff})
		}
	}
	for _, img := range []image.Image{gray, gray16, deep} {
		got := detect(t, d, img)
		if len(got) != 1 || got[0].Box != want[0].Box || apart(got[0].Landmarks, want[0].Landmarks) > tolerance {
			t.Errorf("%T: %v, want %v", img, got, want)
		}
	}
	if _, err := d.Detect(context.Background(), image.NewRGBA(src.Rect)); err == nil {
		t.Error("*image.RGBA: no error")
	}
	if _, err := d.Detect(context.Background(), &image.NRGBA{Rect: src.Rect, Stride: 4 * 512, Pix: src.Pix[:1000]}); err == nil {
		t.Error("a buffer too small: no error")
	}
}

func TestMinFace(t *testing.T) {
	img := sample(t, "astronaut.png") // a face of 91 pixels
	for minFace, want := range map[int]int{40: 1, 85: 1, 110: 0} {
		if got := detect(t, detector(t, Options{MinFace: minFace}), img); len(got) != want {
			t.Errorf("MinFace %d: %d faces, want %d", minFace, len(got), want)
		}
	}
	// Small faces are found enlarged: here 45 pixels.
	half := lumaOf(t, img, 256, 256).gray()
	if got := detect(t, detector(t, Options{MinFace: 40}), half); len(got) != 1 || got[0].Box.Dx() < 40 || got[0].Box.Dx() > 55 {
		t.Errorf("face of 45 pixels: %v", got)
	}
	if got := detect(t, detector(t, Options{MinFace: 60}), half); len(got) != 0 {
		t.Errorf("face of 45 pixels with MinFace 60: %v", got)
	}
}

// MaxPixels bounds the scan, not the result's coordinates.
func TestMaxPixels(t *testing.T) {
	img := sample(t, "obama.jpg")
	full := detect(t, detector(t, Options{}), img)
	small := detect(t, detector(t, Options{MaxPixels: 200_000}), img)
	if len(full) != 1 || len(small) != 1 || !same(full[0].Box, small[0].Box) {
		t.Fatalf("full %v, bounded %v", full, small)
	}
	const tolerance = 2 // pixels of a face of 273
	if e := apart(full[0].Landmarks, small[0].Landmarks); e > tolerance {
		t.Errorf("landmarks %.2f pixels apart, want at most %v", e, tolerance)
	}
}

func TestThreshold(t *testing.T) {
	img := sample(t, "astronaut.png")
	if got := detect(t, detector(t, Options{Threshold: 2}), img); len(got) != 0 {
		t.Errorf("threshold 2: %v", got)
	}
}

func TestOrderAndOnce(t *testing.T) {
	// Two copies of one face, the right one larger, and the left one of them
	// twice as near to the edge.
	src := sample(t, "obama.jpg")
	canvas := image.NewGray(image.Rect(0, 0, 900, 600))
	paste := func(w, h, x, y int) {
		p := lumaOf(t, src, w, h)
		for r := range h {
			copy(canvas.Pix[(y+r)*canvas.Stride+x:], p.pix[r*w:(r+1)*w])
		}
	}
	paste(320, 400, 0, 100)
	paste(480, 600, 400, 0)
	faces := detect(t, detector(t, Options{}), canvas)
	if len(faces) != 2 || faces[0].Box.Min.X < 400 || faces[1].Box.Max.X > 320 {
		t.Errorf("want the large face at the right, then the small one: %v", faces)
	}
}

func TestNoFaces(t *testing.T) {
	d := detector(t, Options{Rotations: true, MaxPixels: 300_000})
	rng := rand.New(rand.NewSource(1))
	for _, s := range []image.Point{{1, 1}, {2, 2}, {3, 500}, {500, 3}, {39, 39}, {40, 40}, {80, 80}, {10000, 1}, {4000, 60}, {240, 180}} {
		img := image.NewNRGBA(image.Rectangle{Max: s})
		for _, noise := range []bool{false, true} {
			if noise {
				rng.Read(img.Pix)
			}
			if faces := detect(t, d, img); len(faces) != 0 {
				t.Errorf("%v, noise %v: %v", s, noise, faces)
			}
		}
	}
	if _, err := d.Detect(context.Background(), image.NewGray(image.Rectangle{})); err == nil {
		t.Error("empty image: no error")
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	d := detector(t, Options{})
	if _, err := d.Detect(ctx, image.NewGray(image.Rect(0, 0, 100, 100))); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{{MinFace: -1}, {MinFace: 3}, {MaxPixels: 100}, {MaxPixels: 1 << 40}, {Threshold: 1e9}} {
		o.Models = models(t)
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// Opening and closing gives the memory back: dlib's models take some 30 MB.
func TestLeak(t *testing.T) {
	const rounds, bound = 6, 40 << 20
	run := func() {
		d, err := New(Options{Models: models(t)})
		if err != nil {
			t.Fatal(err)
		}
		detect(t, d, image.NewGray(image.Rect(0, 0, 400, 300)))
		for range 2 {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.Detect(context.Background(), image.NewGray(image.Rect(0, 0, 400, 300))); err == nil {
			t.Fatal("Detect after Close: no error")
		}
	}
	run()
	before := rss(t)
	for range rounds {
		run()
	}
	if grown := rss(t) - before; grown > bound {
		t.Errorf("%d rounds took %d MB", rounds, grown>>20)
	}
}

// rss is the resident memory of this process in bytes.
func rss(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// TestShared runs over the optional corpus.
func TestShared(t *testing.T) {
	dir := shared(t)
	if dir == "" {
		return
	}
	d := detector(t, Options{Rotations: true})
	for name, want := range map[string]int{
		"d_group6_london_ccby.jpg": 6,
		"d_gray_london_ccby.jpg":   1,
		"obama_240p_pd.jpg":        1,
		"runner_rgba_ccby2.png":    1,
		"exif6_noface_mit.jpg":     0,
	} {
		if got := detect(t, d, load(t, filepath.Join(dir, "photos", name))); len(got) != want {
			t.Errorf("%s: %d faces, want %d: %v", name, len(got), want, got)
		}
	}
}
