package media

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStartupTwice(t *testing.T) {
	if err := Startup(1); err != nil {
		t.Error(err)
	}
}

// The corpora on this machine, if there are any: each photo saved unedited has
// its source's size, format, depth and orientation.
func TestCorpora(t *testing.T) {
	for _, dir := range []string{"../.deps/samples", "../../shared/data/photos"} {
		l, err := os.ReadDir(dir)
		if err != nil {
			continue // not on this machine
		}
		for _, e := range l {
			path := filepath.Join(dir, e.Name())
			p, err := OpenPhoto(t.Context(), path, Options{})
			if filepath.Base(path) == "d_truncated_obama_pd.jpg" {
				if err == nil {
					t.Errorf("%s: opened", path)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			out := mustSave(t, p, SaveOptions{Provenance: true})
			again := mustOpen(t, out)
			i := again.Info
			i.Notes = p.Notes
			if i.Width != p.Width || i.Height != p.Height || i.Depth != p.Depth || i.Bands != p.Bands || i.Format != p.Format || i.Orientation != p.Orientation {
				t.Errorf("%s: %+v became %+v", path, p.Info, i)
			}
		}
	}
}

// BenchmarkJPEG12MP is decoding and encoding of a 12 MP photo, to be held
// against the same by libvips alone.
func BenchmarkJPEG12MP(b *testing.B) {
	const w, h = 4000, 3000
	path := makePhoto(b, "jpeg", w, h, 3, 8, 1, smooth(w, h, 3))
	p := mustOpen(b, path)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			mustOpen(b, path)
		}
	})
	b.Run("save", func(b *testing.B) {
		for b.Loop() {
			if _, err := p.Save(b.Context(), b.TempDir()+"/a.jpg", p.Image, SaveOptions{Overwrite: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
