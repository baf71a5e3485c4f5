package media

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"testing"
)

// upright says which stored pixel is shown at (x, y), by the EXIF
// specification's table, independently of axes.
func upright(o, x, y, w, h int) (sx, sy int) {
	switch o {
	case 2: // mirrored
		return w - 1 - x, y
	case 3: // upside down
		return w - 1 - x, h - 1 - y
	case 4:
		return x, h - 1 - y
	case 5: // row 0 is the left side
		return y, x
	case 6: // row 0 is the right side
		return y, h - 1 - x
	case 7:
		return w - 1 - y, h - 1 - x
	case 8: // row 0 is the left side, column 0 the bottom
		return w - 1 - y, x
	}
	return x, y
}

// Every depth, channel layout and orientation: what is opened is the stored
// picture turned upright, and what is saved unedited is stored as it was.
func TestLosslessBitIdentical(t *testing.T) {
	const w, h = 37, 23
	for _, format := range []string{"png", "tiff", "webp"} {
		for bands := 1; bands <= 4; bands++ {
			for _, depth := range []int{8, 16} {
				if format == "webp" && (bands < 3 || depth > 8) {
					continue
				}
				for o := 1; o <= 8; o++ {
					t.Run(fmt.Sprintf("%s-%d-%d-o%d", format, bands, depth, o), func(t *testing.T) {
						stored := noise(w*h*bands*depth/8, uint64(o))
						p := mustOpen(t, makePhoto(t, format, w, h, bands, depth, o, stored))
						if p.Orientation != o || p.Bands != bands || p.Depth != depth || p.HasAlpha != (bands%2 == 0) {
							t.Fatalf("opened as %+v", p.Info)
						}
						checkUpright(t, p, stored, w, h, bands, depth/8)
						out := mustSave(t, p, SaveOptions{Provenance: o%2 == 0})
						q := mustOpen(t, out)
						if q.Orientation != o || q.Bands != bands || q.Depth != depth || !bytes.Equal(bytesOf(p.Image), bytesOf(q.Image)) {
							t.Fatalf("saved as %+v, or pixels changed", q.Info)
						}
						if format == "png" {
							checkStd(t, out, stored, w, h, bands, depth/8)
						}
					})
				}
			}
		}
	}
}

func checkUpright(t *testing.T, p *Photo, stored []byte, w, h, bands, size int) {
	t.Helper()
	got := bytesOf(p.Image)
	n := len(got) / (w * h) / size // bands in memory
	for y := range p.Height {
		for x := range p.Width {
			sx, sy := upright(p.Orientation, x, y, w, h)
			want := stored[(sy*w+sx)*bands*size:][:bands*size]
			have := got[(y*p.Width+x)*n*size:][:n*size]
			if bands == 3 {
				want = append(want[:3*size:3*size], bytes.Repeat([]byte{255}, size)...)
			}
			if bands == 2 {
				g, a := want[:size:size], want[size:]
				want = append(append(append(g, g...), g...), a...)
			}
			if !bytes.Equal(want, have) {
				t.Fatalf("pixel %d,%d is %v, want %v", x, y, have, want)
			}
		}
	}
}

// checkStd reads a PNG with the standard library: the stored pixels.
func checkStd(t *testing.T, path string, stored []byte, w, h, bands, size int) {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(mustRead(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	if img.Bounds() != image.Rect(0, 0, w, h) {
		t.Fatalf("stored size %v, want %d×%d", img.Bounds(), w, h)
	}
	if bands == 1 && !bytes.Equal(bytesOf(img), stored) || bands == 4 && !bytes.Equal(bytesOf(img), stored) {
		t.Fatal("stored pixels differ")
	}
	if b := mustRead(t, path)[24:26]; int(b[0]) != 8*size || b[1] != [5]byte{0, 0, 4, 2, 6}[bands] {
		t.Fatalf("depth %d, colour type %d", b[0], b[1])
	}
}

func TestTIFFKeepsStorage(t *testing.T) {
	for name, e := range map[string]encoding{
		"none":     {compression: vipsNone, predictor: 1},
		"lzw":      {compression: vipsLZW, predictor: 2},
		"deflate":  {compression: vipsDeflate, predictor: 2, tileW: 64, tileH: 32},
		"packbits": {compression: vipsPackbits, predictor: 1, bigTIFF: true},
		"jpeg":     {compression: vipsJPEG, predictor: 1, quality: 95},
	} {
		t.Run(name, func(t *testing.T) {
			e.kind, e.bands, e.orientation, e.quality = kindTIFF, 3, 1, max(e.quality, 90)
			path := t.TempDir() + "/a.tif"
			err := encode(t.Context(), pixels{smooth(100, 80, 3), 100, 80, 3, 1}, e, func(b []byte) error { return os.WriteFile(path, b, 0o644) })
			if err != nil {
				t.Fatal(err)
			}
			p := mustOpen(t, path)
			out := mustSave(t, p, SaveOptions{Provenance: true})
			got := meta(t, out).carrier.encoding()
			if got.compression != e.compression || got.predictor != e.predictor || got.tileW != e.tileW || got.tileH != e.tileH || got.bigTIFF != e.bigTIFF {
				t.Errorf("stored as %+v, want %+v", got, e)
			}
			if name == "jpeg" {
				if got.quality != 95 {
					t.Errorf("quality %d, want 95", got.quality)
				}
			} else if !bytes.Equal(bytesOf(mustOpen(t, out).Image), bytesOf(p.Image)) {
				t.Error("pixels changed")
			}
		})
	}
}

func TestBMP(t *testing.T) {
	gray := make([]byte, 256*4)
	for i := range 256 {
		gray[4*i], gray[4*i+1], gray[4*i+2] = byte(255-i), byte(255-i), byte(255-i) // backwards
	}
	const w, h = 7, 5
	for name, c := range map[string]struct {
		bits, height, bands int
		extra               []byte // masks or palette
		masks, same         bool
	}{
		"24":        {bits: 24, height: h, bands: 3, same: true},
		"24 down":   {bits: 24, height: -h, bands: 3, same: true},
		"32 alpha":  {bits: 32, height: h, bands: 4, extra: []byte("\x00\x00\xff\x00\x00\xff\x00\x00\xff\x00\x00\x00\x00\x00\x00\xff"), masks: true, same: true},
		"gray":      {bits: 8, height: h, bands: 1, extra: gray, same: true},
		"16":        {bits: 16, height: h, bands: 3},
		"4 palette": {bits: 4, height: h, bands: 3, extra: bytes.Repeat([]byte{1, 2, 3, 0, 9, 9, 9, 0}, 8)},
		"1 gray":    {bits: 1, height: h, bands: 1, extra: []byte{0, 0, 0, 0, 255, 255, 255, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			hs, comp := 40, byte(0)
			if c.masks {
				hs, comp = 56, 3
			}
			at := 14 + 40 + len(c.extra)
			head := make([]byte, 54)
			copy(head, "BM")
			head[10], head[11], head[14], head[18] = byte(at), byte(at>>8), byte(hs), w
			for i := range 4 {
				head[22+i] = byte(c.height >> (8 * i))
			}
			head[26], head[28], head[30], head[38] = 1, byte(c.bits), comp, 77
			b := append(append(head, c.extra...), make([]byte, (w*c.bits+31)/32*4*h)...)
			n := noise(len(b)-at, 3)
			for y, stride := 0, (w*c.bits+31)/32*4; y < h; y++ {
				copy(b[at+y*stride:][:w*c.bits/8], n[y*stride:]) // padding stays 0
			}
			b = append(b, "tail"...)
			path := t.TempDir() + "/a.bmp"
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
			p := mustOpen(t, path)
			if p.Bands != c.bands || p.Width != w || p.Height != h {
				t.Fatalf("opened as %+v", p.Info)
			}
			out := mustSave(t, p, SaveOptions{})
			if c.same != bytes.Equal(mustRead(t, out), b) {
				t.Errorf("same bytes: %t, want %t", !c.same, c.same)
			}
			q := mustOpen(t, out)
			if !bytes.Equal(bytesOf(q.Image), bytesOf(p.Image)) || mustRead(t, out)[38] != 77 {
				t.Error("pixels or resolution changed")
			}
		})
	}
}
