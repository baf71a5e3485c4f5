package main

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"log/slog"
	"os/exec"
	"path/filepath"
	"testing"

	"restored/config"
	"restored/media"
)

// The page's pictures are made in a process of their own: of photos that
// browsers don't show, and of films. What is no photo is an error there.
func TestPreviewsConfined(t *testing.T) {
	dir := t.TempDir()
	if err := samplePhotos(deps(t), dir); err != nil {
		t.Fatal(err)
	}
	in := filepath.Join(dir, "in")
	tiff, film := filepath.Join(dir, "a.tif"), filepath.Join(dir, "b.mp4")
	for _, args := range [][]string{
		{"convert", filepath.Join(in, "face.jpg"), "-depth", "16", tiff},
		{"ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=320x240:d=2:r=10", "-pix_fmt", "yuv420p", film},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	cfg := realConfig(t)
	if p, err := openPreviews(t.Context(), cfg, slog.New(slog.DiscardHandler)); p != nil || err != nil {
		t.Errorf("without a page: %v, %v", p, err)
	}
	cfg.HTTP = config.HTTP{Listen: "127.0.0.1:0"}
	p, err := openPreviews(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	for path, at := range map[string]float64{filepath.Join(in, "face.jpg"): -1, tiff: -1, film: 1.5} {
		data, err := p.make(t.Context(), path, 64, at)
		var c image.Config
		if err == nil {
			c, err = jpeg.DecodeConfig(bytes.NewReader(data))
		}
		if err != nil || max(c.Width, c.Height) != 64 {
			t.Errorf("%s: %+v, %v", path, c, err)
		}
	}
	if _, err := p.make(t.Context(), filepath.Join(in, "text.jpg"), 64, -1); !errors.Is(err, media.ErrNotPhoto) {
		t.Errorf("text: %v", err)
	}
}
