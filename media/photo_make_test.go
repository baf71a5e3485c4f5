package media

import (
	"bytes"
	"context"
	"image"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if err := Startup(2); err != nil {
		panic(err)
	}
	code := m.Run()
	Shutdown()
	removeClips()
	os.Exit(code)
}

// noise makes random bytes, the same for each seed.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// smooth makes a picture with gradients and edges, as a lossy coder expects.
func smooth(w, h, bands int) []byte {
	b := make([]byte, w*h*bands)
	for y := range h {
		for x := range w {
			for c := range bands {
				b[(y*w+x)*bands+c] = byte(40 + 120*x/w + 60*y/h + 15*((x/9+y/7+c)%2))
			}
		}
	}
	return b
}

// exifBlock is an EXIF block with an orientation, a maker note and a thumbnail.
func exifBlock(orientation int) []byte {
	thumb := append([]byte{0xff, 0xd8}, bytes.Repeat([]byte{'t'}, 500)...)
	b := []byte("MM\x00*\x00\x00\x00\x08" +
		"\x00\x03" +
		"\x01\x0f\x00\x02\x00\x00\x00\x0a\x00\x00\x00\x46" + // Make, at 70
		"\x01\x12\x00\x03\x00\x00\x00\x01\x00" + string(rune(orientation)) + "\x00\x00" +
		"\x87\x69\x00\x04\x00\x00\x00\x01\x00\x00\x00\x50" + // EXIF, at 80
		"\x00\x00\x00\x62") // next: IFD1 at 98
	b = append(b, make([]byte, 70-len(b))...)
	b = append(b, "ACME Cams\x00"...)
	b = append(b, "\x00\x01\x92\x7c\x00\x07\x00\x00\x00\x04NOTE\x00\x00\x00\x00"...) // 80..98: MakerNote
	b = append(b, "\x00\x02\x02\x01\x00\x04\x00\x00\x00\x01\x00\x00\x00\x80\x02\x02\x00\x04\x00\x00\x00\x01\x00\x00\x01\xf6\x00\x00\x00\x00"...)
	return append(b, thumb...) // at 128, 502 bytes
}

const testXMP = `<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:rights="mine &amp; yours"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>`

// makePhoto writes a photo of the given stored pixels with all the metadata
// its format holds, and returns its path.
func makePhoto(t testing.TB, format string, w, h, bands, depth, orientation int, pix []byte) string {
	t.Helper()
	icc, err := srgbProfile()
	if err != nil {
		t.Fatal(err)
	}
	if bands < 3 {
		icc = nil
	}
	e := encoding{bands: bands, orientation: 1, quality: 92, predictor: 2, compression: vipsLZW, lossless: true}
	var c carrier
	exif, xmp := exifBlock(orientation), []byte(testXMP)
	switch format {
	case "jpeg":
		e.kind = kindJPEG
		c = &jpegFile{segs: append([]segment{
			{0xe0, []byte("JFIF\x00\x01\x02\x01\x01\x2c\x01\x2c\x00\x00")}, {0xe1, append([]byte(sigEXIF), exif...)},
			{0xed, []byte("Photoshop 3.0\x008BIM\x04\x04\x00\x00\x00\x00\x00\x07\x1c\x02\x78\x00\x02Hi\x00")}, {0xfe, []byte("a comment")},
			{0xe1, append([]byte(sigXMP), xmp...)},
		}, iccSegments(icc)...)}
	case "png":
		e.kind, e.quality, e.predictor = kindPNG, 1, 8
		p := &pngFile{before: [][]byte{pngChunk("pHYs", []byte("\x00\x00\x2e\x23\x00\x00\x2e\x23\x01")), pngChunk("eXIf", exif), pngXMPChunk(xmp)},
			after: [][]byte{pngChunk("tEXt", []byte("Comment\x00behind"))}}
		if icc != nil {
			p.before = append(p.before, pngICCChunk(icc))
		}
		c = p
	case "webp":
		e.kind = kindWebP
		c = &webpFile{icc: icc, exif: exif, oldXMP: xmp, other: [][]byte{webpChunk("abcd", []byte("odd"))}}
	case "tiff":
		e.kind = kindTIFF
		x, err := newTIFF(exif)
		if err != nil {
			t.Fatal(err)
		}
		entries, _, err := x.ifd(x.first)
		if err != nil {
			t.Fatal(err)
		}
		f := &tiffFile{order: x.order}
		for _, e := range entries {
			f.entries = append(f.entries, x.clone(e, 0))
		}
		f.entries = append(f.entries, tiffEntry{tag: 282, typ: 5, count: 1, val: []byte{0, 0, 1, 44, 0, 0, 0, 1}},
			tiffEntry{tag: tagXMP, typ: 1, count: uint64(len(xmp)), val: xmp}, tiffEntry{tag: 33723, typ: 7, count: 7, val: []byte("\x1c\x02\x78\x00\x02Hi")})
		if icc != nil {
			f.entries = append(f.entries, tiffEntry{tag: tagICC, typ: 7, count: uint64(len(icc)), val: icc})
		}
		c = f
	}
	path := filepath.Join(t.TempDir(), "photo."+format)
	err = encode(context.Background(), pixels{pix, w, h, bands, depth / 8}, e, func(encoded []byte) error {
		var out bytes.Buffer
		if err := c.write(&out, encoded, patch{}); err != nil {
			return err
		}
		return os.WriteFile(path, out.Bytes(), 0o640)
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func mustOpen(t testing.TB, path string) *Photo {
	t.Helper()
	p, err := OpenPhoto(context.Background(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mustSave saves a photo as it is to a new folder and returns the path.
func mustSave(t testing.TB, p *Photo, o SaveOptions) string {
	t.Helper()
	i, err := p.Save(context.Background(), filepath.Join(t.TempDir(), "new", filepath.Base(p.Path)), p.Image, o)
	if err != nil {
		t.Fatal(err)
	}
	return i.Path
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// meta is a file's source, inspected anew.
func meta(t testing.TB, path string) *source {
	t.Helper()
	s, _, _, err := read(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func bytesOf(img image.Image) []byte {
	switch m := img.(type) {
	case *image.Gray:
		return m.Pix
	case *image.Gray16:
		return m.Pix
	case *image.NRGBA:
		return m.Pix
	case *image.NRGBA64:
		return m.Pix
	}
	return nil
}

// isTemp tells whether a path is that of a temporary of this package.
func isTemp(path string) bool {
	name := filepath.Base(path)
	return strings.HasPrefix(name, TempPrefix) && strings.HasSuffix(name, TempSuffix)
}

func noTemps(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if isTemp(path) {
			t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
