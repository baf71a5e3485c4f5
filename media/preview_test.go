package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// run runs one of the tools that the tests need.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// corners are the colours near the four corners of a preview: r, g, b, or other.
func corners(t *testing.T, data []byte, w, h int) string {
	t.Helper()
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if got := img.Bounds().Size(); got != image.Pt(w, h) {
		t.Errorf("%v, want %d×%d", got, w, h)
	}
	b := img.Bounds()
	s := ""
	for _, p := range []image.Point{{b.Dx() / 4, b.Dy() / 4}, {b.Dx() * 3 / 4, b.Dy() / 4}, {b.Dx() / 4, b.Dy() * 3 / 4}, {b.Dx() * 3 / 4, b.Dy() * 3 / 4}} {
		c := color.NRGBAModel.Convert(img.At(p.X, p.Y)).(color.NRGBA)
		switch {
		case c.R > 150 && c.G < 110 && c.B < 110:
			s += "r"
		case c.G > 100 && c.R < 110 && c.B < 110:
			s += "g"
		case c.B > 110 && c.R < 60 && c.G < 60:
			s += "b"
		case c.R > 230 && c.G > 230 && c.B > 230:
			s += "w"
		default:
			s += fmt.Sprintf("(%d %d %d)", c.R, c.G, c.B)
		}
	}
	return s
}

// quarters is a picture of red, green, blue and white, by ImageMagick.
func quarters(t *testing.T, path string, more ...string) {
	t.Helper()
	args := []string{"-size", "400x200", "xc:white", "-fill", "#ff0000", "-draw", "rectangle 0,0 199,99", "-fill", "#00c000", "-draw", "rectangle 200,0 399,99",
		"-fill", "#0000ff", "-draw", "rectangle 0,100 199,199"}
	tool(t, "convert", append(append(args, more...), path)...)
}

// Formats that browsers don't show come out as JPEG, upright and in sRGB.
func TestPreview(t *testing.T) {
	dir, before := t.TempDir(), tracked()
	for _, c := range []struct {
		name string
		more []string
		want string
		w, h int
	}{
		{"a.tif", []string{"-depth", "16", "-compress", "lzw"}, "rgbw", 100, 50},
		{"b.png", []string{"-depth", "16"}, "rgbw", 100, 50},
		{"c.jpg", []string{"-quality", "95"}, "rgbw", 100, 50},
		{"d.webp", nil, "rgbw", 100, 50},
		{"e.bmp", []string{"-type", "TrueColor"}, "rgbw", 100, 50},
		{"f.tif", []string{"-orient", "RightTop"}, "brwg", 50, 100}, // turned clockwise by players
		{"g.png", []string{"-alpha", "set", "-transparent", "#0000ff"}, "rgww", 100, 50},
		{"h.tif", []string{"-alpha", "off", "-colorspace", "CMYK"}, "rgbw", 100, 50},
	} {
		path := filepath.Join(dir, c.name)
		quarters(t, path, c.more...)
		data, err := Preview(t.Context(), path, 100, Options{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := corners(t, data, c.w, c.h); got != c.want {
			t.Errorf("%s: corners %s, want %s", c.name, got, c.want)
		}
	}
	// What is smaller stays as it is.
	data, err := Preview(t.Context(), filepath.Join(dir, "a.tif"), 1000, Options{})
	if err != nil {
		t.Fatal(err)
	}
	corners(t, data, 400, 200)

	if err := os.WriteFile(filepath.Join(dir, "text.jpg"), []byte("no photo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Preview(t.Context(), filepath.Join(dir, "text.jpg"), 100, Options{}); !errors.Is(err, ErrNotPhoto) {
		t.Errorf("text: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Preview(ctx, filepath.Join(dir, "a.tif"), 100, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	released(t, before)
}

// The picture of a video is that of the time, as players show it.
func TestPreviewVideo(t *testing.T) {
	dir := t.TempDir()
	film := filepath.Join(dir, "film.mkv")
	// A second of red, one of green, one of blue; pixels twice as wide as high.
	tool(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=0xff0000:s=200x200:r=10:d=1,format=yuv420p", "-f", "lavfi", "-i", "color=0x00c000:s=200x200:r=10:d=1,format=yuv420p",
		"-f", "lavfi", "-i", "color=0x0000ff:s=200x200:r=10:d=1,format=yuv420p", "-filter_complex", "[0][1][2]concat=n=3,setsar=2", "-c:v", "libx264", "-g", "30", film)
	for at, want := range map[float64]string{0: "rrrr", 0.9: "rrrr", 1: "gggg", 1.95: "gggg", 2.5: "bbbb", -1: "rrrr", 99: "rrrr"} {
		data, err := PreviewVideo(t.Context(), film, 100, at)
		if err != nil {
			t.Errorf("at %g: %v", at, err)
			continue
		}
		if got := corners(t, data, 100, 50); got != want {
			t.Errorf("at %g: %s, want %s", at, got, want)
		}
	}
	still := filepath.Join(dir, "still.png")
	quarters(t, still)
	tool(t, "ffmpeg", "-v", "error", "-loop", "1", "-i", still, "-t", "1", "-r", "10", "-pix_fmt", "yuv420p", "-c:v", "libx264", filepath.Join(dir, "plain.mp4"))
	for _, turn := range []string{"90", "270"} {
		turned, players := filepath.Join(dir, turn+".mp4"), filepath.Join(dir, turn+".png")
		tool(t, "ffmpeg", "-v", "error", "-i", filepath.Join(dir, "plain.mp4"), "-c", "copy", "-metadata:s:v:0", "rotate="+turn, turned)
		tool(t, "ffmpeg", "-v", "error", "-i", turned, "-frames:v", "1", players)
		got, err := PreviewVideo(t.Context(), turned, 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Preview(t.Context(), players, 100, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := corners(t, got, 50, 100), corners(t, want, 50, 100); got != want {
			t.Errorf("turned by %s: %s, players show %s", turn, got, want)
		}
	}
}
