package detect

import (
	"fmt"
	"image"
	"image/draw"
	_ "image/jpeg"
	_ "image/png"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// root is the folder of go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = up
	}
}

func models(t testing.TB) string { return filepath.Join(root(t), ".deps", "models") }

// shared is the folder of the optional corpus, or "" where there is none.
func shared(t testing.TB) string {
	dir := filepath.Join(root(t), "..", "shared", "data")
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

// load reads a picture as NRGBA.
func load(t testing.TB, path string) *image.NRGBA {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	src, _, err := image.Decode(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	img := image.NewNRGBA(image.Rectangle{Max: src.Bounds().Size()})
	draw.Draw(img, img.Rect, src, src.Bounds().Min, draw.Src)
	return img
}

func sample(t testing.TB, name string) *image.NRGBA {
	t.Helper()
	return load(t, filepath.Join(root(t), ".deps", "samples", name))
}

// opened are the detectors that tests share, one for each set of options: dlib's
// models take a while to read.
var opened = map[Options]*Detector{}

func detector(t testing.TB, opt Options) *Detector {
	t.Helper()
	opt.Models = models(t)
	if d, ok := opened[opt]; ok {
		return d
	}
	d, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	opened[opt] = d
	return d
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, d := range opened {
		if err := d.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// lumaOf is the photo's luma at w×h pixels.
func lumaOf(t testing.TB, img image.Image, w, h int) *plane {
	t.Helper()
	read, err := newLumaReader(img)
	if err != nil {
		t.Fatal(err)
	}
	return resample(read, sized(img), w, h)
}

func (p *plane) gray() *image.Gray {
	return &image.Gray{Pix: p.pix, Stride: p.w, Rect: image.Rect(0, 0, p.w, p.h)}
}

// warp is a similarity: p becomes scale·R(degrees)·(p − from) + to, degrees
// clockwise.
type warp struct {
	from, to       Point
	scale, degrees float64
}

func (w warp) apply(p Point) Point {
	s, c := math.Sincos(w.degrees * math.Pi / 180)
	x, y := p.X-w.from.X, p.Y-w.from.Y
	return Point{w.to.X + w.scale*(x*c-y*s), w.to.Y + w.scale*(x*s+y*c)}
}

func (w warp) undo(p Point) Point {
	s, c := math.Sincos(w.degrees * math.Pi / 180)
	x, y := (p.X-w.to.X)/w.scale, (p.Y-w.to.Y)/w.scale
	return Point{w.from.X + x*c + y*s, w.from.Y - x*s + y*c}
}

// render warps the luma into width×height pixels, 2×2 samples each.
func (w warp) render(src *plane, width, height int) *image.Gray {
	out := image.NewGray(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			var sum float64
			for i := range 4 {
				p := w.undo(Point{float64(x) + float64(i%2)/2 - 0.25, float64(y) + float64(i/2)/2 - 0.25})
				sum += float64(src.bilinear(p.X, p.Y))
			}
			out.Pix[y*out.Stride+x] = uint8(sum/4 + 0.5)
		}
	}
	return out
}

// apart is the root mean square distance of two sets of landmarks.
func apart(a, b [parts]Point) float64 {
	var sum float64
	for i := range a {
		sum += math.Pow(a[i].X-b[i].X, 2) + math.Pow(a[i].Y-b[i].Y, 2)
	}
	return math.Sqrt(sum / parts)
}
